#!/bin/bash
# Fill a volume on each node's own disk before a job starts there: one node fetches from the sources, the others from it.
#
# As Prolog of slurmd, with PrologFlags=Alloc, and BatchStartTimeout as long as a node may take; or in a job, without root:
#
#   srun --ntasks-per-node=1 bash prolog.sh
#
# What it does is in /etc/provisioner/node.env, or in the file that NODE_CONFIG names:
#
#   LOCAL_DIR=/local/data                          the volume of this node
#   SHARED_DIR=/shared/data                        a volume that all nodes see: whoever comes first fills it, under its lock
#   PEERS=http://node1:7860                        instead, where the nodes share nothing: a node that runs `serve`
#   PHASE=balanced                                 and other settings; HF_TOKEN_FILE for a token
#   PROVISIONER=/opt/provisioner/bin/provisioner   how the program is started
#   RUN_AS=datasets                                whom the volumes belong to, if slurmd is root
#   PARTITIONS="gpu large"                         jobs of other partitions are left alone; without it none are
#   LOG_FILE=/var/log/provisioner.log
#
# It always ends with 0, since Slurm drains a node whose prolog fails. A job that needs the data begins with
# `DATA_DIR=/local/data provisioner status --check`.
set -uo pipefail
config=${NODE_CONFIG:-/etc/provisioner/node.env}
[[ -r $config ]] || { echo "prolog: $config cannot be read; nothing was done" >&2; exit 0; }
# SHARD=0/1: all of the plan. Otherwise a job that is an array of its own would look like one of shares.
export LOG_FORMAT=json PROVISIONER=provisioner SHARD=0/1
set -a
# shellcheck disable=SC1090  # the file that its owner names
. "$config"
set +a
[[ -z ${PARTITIONS:-} || " $PARTITIONS " == *" ${SLURM_JOB_PARTITION:-} "* ]] || exit 0
[[ ${LOCAL_DIR:-} ]] || { echo "prolog: $config does not set LOCAL_DIR; nothing was done" >&2; exit 0; }

provision() {
    local as=()
    if [[ ${RUN_AS:-} && $(id -u) == 0 ]]; then as=(runuser --user "$RUN_AS" --); fi
    # shellcheck disable=SC2086  # several words
    "${as[@]}" env "$@" $PROVISIONER provision >>"${LOG_FILE:-/dev/null}" 2>&1
}

# The lock of the shared volume lets one node fetch; the others wait for it, and find the work done.
if [[ ${SHARED_DIR:-} ]] && provision DATA_DIR="$SHARED_DIR"; then PEERS="$SHARED_DIR${PEERS:+;$PEERS}"; fi
provision DATA_DIR="$LOCAL_DIR" PEERS="${PEERS:-}" || echo "prolog: $LOCAL_DIR was not filled (exit code $?)" >&2
exit 0
