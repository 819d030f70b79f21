#!/bin/bash
# grokfast/modadd at scale paper
#SBATCH --job-name=grokfast-modadd-paper-0123abcd
#SBATCH --chdir='/shared/my runs/grokfast/modadd/paper/job'
#SBATCH --output=log
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=TERM@60
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=32G
#SBATCH --time=1440


# One process that ends badly ends all: they cannot go on without it.
srun --kill-on-bad-exit=1 --label --cpus-per-task=8 \
  /venv/bin/python -P -m jaxgen resume '/shared/my runs/grokfast/modadd/paper' --save-every=30
code=$?

start=${SLURM_RESTART_COUNT:-0}
echo "$start $code $(date +%Y-%m-%dT%H:%M:%S%z)" >> starts

# Stopped and saved (75), lost another process (69), aborted or killed: once more, from the last save.
case $code in
  75|69|134|137|143)
    if [ "$start" -lt 10 ]; then
      echo "jaxgen: start $start ended with $code; asking for another, at most 10"
      scontrol requeue "$SLURM_JOB_ID" && exit "$code"
    fi
    echo "jaxgen: start $start ended with $code, and there is no other; go on with the same jaxgen submit"
    ;;
esac
exit "$code"
