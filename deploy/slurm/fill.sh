#!/bin/bash
# Fill a volume on a shared file system from several nodes, without root: an array of shares, and a job that publishes.
#
#   DATA_DIR=/shared/data PHASE=balanced bash fill.sh 8
#   squeue --me
#
# PROVISIONER is how the program is started: from a virtual environment (python3 -m venv; pip install the wheel), or in Apptainer:
#
#   PROVISIONER=/shared/venv/bin/provisioner
#   PROVISIONER="apptainer run --containall --no-home --bind $DATA_DIR --env-file /shared/provisioner.env provisioner.sif"
#
# With --containall the container sees none of the node's variables but those that the jobs pass on: SHARD, DATA_DIR and PHASE.
# Other settings are in the file.
set -euo pipefail
here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
: "${DATA_DIR:?a directory that all nodes share}" "${PROVISIONER:=provisioner}"
shares=${1:-4}
export DATA_DIR PROVISIONER

array=$(sbatch --parsable --export=ALL --array="0-$((shares - 1))" "$here/shares.sbatch")
echo "Shares: job $array, $shares tasks"
# afterany, not afterok: what is missing is said by the job that publishes, and its exit code is that of the whole.
finish=$(sbatch --parsable --export=ALL --dependency="afterany:$array" "$here/finish.sbatch")
echo "Publishing: job $finish"
