#!/bin/bash
# grokfast/modadd at scale paper
#SBATCH --job-name=grokfast-modadd-paper-0123abcd
#SBATCH --chdir='/shared/my runs/grokfast/modadd/paper/job'
#SBATCH --output=log
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=TERM@120
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gres=gpu:h100:8
#SBATCH --partition=gpu
#SBATCH --account=lab
#SBATCH --constraint='nvlink&ib'
#SBATCH --qos=high

export XLA_FLAGS='--xla_a=1 --xla_b=2'
WANDB_API_KEY="$(cat -- '/home/me/my key')" || exit 2
export WANDB_API_KEY

# One process that ends badly ends all: they cannot go on without it.
srun --kill-on-bad-exit=1 --label \
  /venv/bin/python -P -m jaxgen resume '/shared/my runs/grokfast/modadd/paper' --save-every=30
code=$?

start=${SLURM_RESTART_COUNT:-0}
echo "$start $code $(date +%Y-%m-%dT%H:%M:%S%z)" >> starts

# Stopped and saved (75), lost another process (69), aborted or killed: once more, from the last save.
case $code in
  75|69|134|137|143)
    if [ "$start" -lt 3 ]; then
      echo "jaxgen: start $start ended with $code; asking for another, at most 3"
      scontrol requeue "$SLURM_JOB_ID" && exit "$code"
    fi
    echo "jaxgen: start $start ended with $code, and there is no other; go on with the same jaxgen submit"
    ;;
esac
exit "$code"
