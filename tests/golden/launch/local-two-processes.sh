# grokfast/modadd at scale paper: jaxgen starts these 2 together, and again at most 10 times
cd '/shared/my runs/grokfast/modadd/paper/job'
JAX_COORDINATOR_ADDRESS=127.0.0.1:PORT JAX_NUM_PROCESSES=2 JAX_PROCESS_ID=0 /venv/bin/python -P -m jaxgen resume '/shared/my runs/grokfast/modadd/paper' --save-every=30 &
JAX_COORDINATOR_ADDRESS=127.0.0.1:PORT JAX_NUM_PROCESSES=2 JAX_PROCESS_ID=1 /venv/bin/python -P -m jaxgen resume '/shared/my runs/grokfast/modadd/paper' --save-every=30 &
wait
