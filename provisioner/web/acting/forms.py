"""The page for acting on the volume, as HTML: complete without a script, with all external text escaped."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any, Final

from provisioner.units import format_duration
from provisioner.web.acting.orders import AUTO
from provisioner.web.acting.results import shown_result
from provisioner.web.record import amount, plain_number, progress_bar, text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from provisioner.web.acting.orders import Choices, Order
    from provisioner.web.acting.sign_in import Session
    from provisioner.web.acting.worker import Job

RELOAD_SECONDS: Final = 3
"""Seconds after which the page reloads itself while a command is running."""
RELOAD_SOON_SECONDS: Final = 1
"""The same during the first seconds, which is long enough for most plans."""
_SOON_SECONDS: Final = 5.0
_LINES: Final = 12
"""Lines of the log that are shown while a command is running."""
_CANCELLED_CODES: Final = frozenset({128 + 15, -15})


def page(title: str, main: str, *, reload_seconds: int | None = None) -> str:
    """Return a whole page."""
    reload = f'<meta http-equiv="refresh" content="{reload_seconds};url=act">\n' if reload_seconds else ""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="color-scheme" content="light dark">\n{reload}<title>{escape(title)} | data volume</title>\n'
        '<link rel="icon" href="provisioner.svg">\n<link rel="stylesheet" href="provisioner.css">\n</head>\n<body>\n'
        f'<main id="main">{main}</main>\n</body>\n</html>\n'
    )


def sign_in_page(problem: str = "") -> str:
    """Return the page for a user who has not signed in."""
    note = f'<p class="notice" role="alert">{text(problem)}</p>' if problem else ""
    return page(
        "Sign in",
        f'<nav><a href="./">Status</a></nav><h1>Sign in</h1>{note}'
        '<form class="panel" method="post" action="sign-in">'
        # A password manager stores a password under a user name.
        '<input name="username" autocomplete="username" value="data volume" hidden>'
        '<p><label for="token">Token (<code>UI_TOKEN</code>)</label></p>'
        '<p><input id="token" name="token" type="password" autocomplete="current-password" required autofocus></p>'
        "<p><button>Sign in</button></p></form>",
    )


def problem_page(title: str, problem: str) -> str:
    """Return the page for a refused request."""
    return page(
        title, f'<nav><a href="act">Back</a></nav><h1>{text(title)}</h1><p class="notice" role="alert">{text(problem)}</p>'
    )


def work_page(session: Session, job: Job, document: Mapping[str, Any] | None, now: float) -> str:
    """Return the page while a command is running.

    Args:
        session: the session of the user.
        job: the running command.
        document: the status of the volume.
        now: seconds since the epoch.
    """
    seconds = max(0.0, now - job.started)
    parts = [_top(session), f'<h1>{text(job.title)}</h1><p role="status">']
    parts.append("It is being cancelled." if job.is_cancelled else f"Running for {format_duration(seconds)}.")
    parts.append('</p><section class="panel">')
    if job.words[0] == "provision" and document is not None and document.get("state") == "provisioning":
        done, total = document.get("bytes_done"), document.get("bytes_total")
        shown = amount(plain_number(done), plain_number(total))
        parts.append(f"{progress_bar('the whole run', done, total)}<p>{text(shown)}</p>")
        parts.append('<p><a href="./">Each data set</a></p>')
    else:
        parts.append('<progress aria-label="Progress"></progress>')
    parts.append(_log(job, _LINES))
    if not job.is_cancelled:
        parts.append(_form(session, "cancel", '<button class="danger">Cancel</button>'))
    parts.append("</section>")
    reload_seconds = RELOAD_SOON_SECONDS if seconds < _SOON_SECONDS else RELOAD_SECONDS
    return page(job.title, "".join(parts), reload_seconds=reload_seconds)


def plan_page(session: Session, order: Order, job: Job, key: str, *, may_confirm: bool) -> str:
    """Return the page that shows what would be done, and asks for confirmation.

    Args:
        session: the session of the user.
        order: the requested action.
        job: the command that determined what would be done.
        key: identifies this plan in the form that confirms it.
        may_confirm: whether the command found nothing that forbids it.
    """
    parts = [_top(session), f"<h1>{text(order.title)}?</h1>"]
    if may_confirm:
        parts.append('<p role="status">This is what would be done. Nothing has been changed yet.</p>')
    else:
        parts.append('<p class="notice" role="alert">This cannot be done. Nothing was changed.</p>')
    parts.append(shown_result(job))
    if may_confirm:
        kind = ' class="danger"' if order.action in {"remove", "gc"} else ""
        parts.append(_form(session, "start", f"<button{kind}>{text(_VERBS[order.action])}</button>", plan=key))
    parts += [_form(session, "dismiss", '<button class="plain">Back</button>'), _whole_log(job)]
    return page(order.title, "".join(parts))


def choice_page(session: Session, choices: Choices, done: Job | None) -> str:
    """Return the page that offers the possible actions.

    Args:
        session: the session of the user.
        choices: the phases and data sets to choose from.
        done: the command that ended last.
    """
    parts = [_top(session), "<h1>Act on this volume</h1>", *(_done(done) if done else ())]
    parts += ['<section aria-labelledby="provision"><h2 id="provision">Provision</h2>']
    parts += [_form(session, "plan", "".join(_provision(choices)), action="provision"), "</section>"]
    parts += ['<section aria-labelledby="held"><h2 id="held">What is on the volume</h2>']
    parts += [_form(session, "plan", "".join(_held(choices))), "</section>"]
    return page("Act on this volume", "".join(parts))


_VERBS: Final = {
    "provision": "Provision now",
    "verify": "Verify now",
    "repair": "Repair now",
    "remove": "Remove now",
    "gc": "Remove now",
}


def _done(job: Job) -> Iterator[str]:
    yield '<section aria-labelledby="done"><h2 id="done">Done last</h2><div class="panel">'
    how = "done" if job.code == 0 else "cancelled" if job.code in _CANCELLED_CODES else f"ended with exit code {job.code}"
    yield f'<p role="status"><strong>{text(job.title)}</strong>: {text(how)} after {format_duration(job.seconds or 0.0)}.</p>'
    yield shown_result(job)
    yield f"{_whole_log(job)}</div></section>"


def _provision(choices: Choices) -> Iterator[str]:
    yield '<fieldset><legend><label><input type="radio" name="what" value="phase" checked> A phase</label></legend>'
    yield '<label for="phase" class="quiet">Phase</label> <select id="phase" name="phase">'
    for name, description in {**choices.phases, AUTO: "the largest that fits"}.items():
        chosen = " selected" if name == choices.phase else ""
        label = f"{name}: {description}" if description else name
        yield f'<option value="{escape(name)}"{chosen}>{text(label if len(label) <= 90 else f"{label[:87]}…")}</option>'  # noqa: PLR2004
    yield "</select></fieldset>"
    yield '<fieldset><legend><label><input type="radio" name="what" value="sets"> Data sets</label></legend>'
    yield from _boxes("dataset", choices.datasets)
    yield '<p><label for="references">References, one on each line</label></p>'
    yield '<p><textarea id="references" name="references" rows="3" spellcheck="false" aria-describedby="forms"></textarea></p>'
    yield '<p id="forms" class="quiet">hf://datasets/OWNER/NAME, hf://OWNER/NAME (a model), or https://HOST/FILE</p></fieldset>'
    yield "<p><button>Show the plan</button></p>"


def _held(choices: Choices) -> Iterator[str]:
    if choices.present:
        yield "<fieldset><legend>Data sets (none chosen: all of them)</legend>"
        yield from _boxes("present", choices.present)
        yield "</fieldset>"
        yield '<p><label><input type="checkbox" name="deep" value="yes"> Verify by reading every byte</label></p>'
        yield '<p class="buttons"><button name="action" value="verify">Verify …</button>'
        yield '<button name="action" value="repair">Repair …</button>'
        yield '<button name="action" value="remove">Remove …</button>'
    else:
        yield '<p>It holds no data set yet.</p><p class="buttons">'
    yield '<button name="action" value="gc">Remove superseded versions and leftovers …</button></p>'
    yield '<p class="quiet">Each shows first what it would do.</p>'


def _boxes(name: str, items: Mapping[str, str]) -> Iterator[str]:
    yield '<ul class="boxes">'
    for value, label in items.items():
        yield f'<li><label><input type="checkbox" name="{name}" value="{escape(value)}"> {text(label)}</label></li>'
    yield "</ul>"


def _top(session: Session) -> str:
    return f'<nav><a href="./">Status</a>{_form(session, "sign-out", _SIGN_OUT)}</nav>'


_SIGN_OUT: Final = '<button class="plain">Sign out</button>'


def _form(session: Session, target: str, content: str, **hidden: str) -> str:
    fields = {"form_token": session.form_token, **hidden}
    inputs = "".join(f'<input type="hidden" name="{name}" value="{escape(value)}">' for name, value in fields.items())
    return f'<form method="post" action="{target}">{inputs}{content}</form>'


def _log(job: Job, count: int) -> str:
    lines = list(job.lines)[-count:]
    return f'<pre class="log" tabindex="0" aria-label="Log">{text(chr(10).join(lines))}</pre>' if lines else ""


def _whole_log(job: Job) -> str:
    shown = _log(job, len(job.lines))
    return f"<details><summary>Log</summary>{shown}</details>" if shown else ""
