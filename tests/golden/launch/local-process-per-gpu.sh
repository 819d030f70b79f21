# grokfast/modadd at scale paper: jaxgen starts these 4 together, and again at most 10 times
cd '/shared/my runs/grokfast/modadd/paper/job'
JAX_COORDINATOR_ADDRESS=127.0.0.1:PORT JAX_NUM_PROCESSES=4 JAX_PROCESS_ID=0 CUDA_VISIBLE_DEVICES=0 /venv/bin/python -P -m jaxgen resume '/shared/my runs/grokfast/modadd/paper' --save-every=30 &
JAX_COORDINATOR_ADDRESS=127.0.0.1:PORT JAX_NUM_PROCESSES=4 JAX_PROCESS_ID=1 CUDA_VISIBLE_DEVICES=1 /venv/bin/python -P -m jaxgen resume '/shared/my runs/grokfast/modadd/paper' --save-every=30 &
JAX_COORDINATOR_ADDRESS=127.0.0.1:PORT JAX_NUM_PROCESSES=4 JAX_PROCESS_ID=2 CUDA_VISIBLE_DEVICES=2 /venv/bin/python -P -m jaxgen resume '/shared/my runs/grokfast/modadd/paper' --save-every=30 &
JAX_COORDINATOR_ADDRESS=127.0.0.1:PORT JAX_NUM_PROCESSES=4 JAX_PROCESS_ID=3 CUDA_VISIBLE_DEVICES=3 /venv/bin/python -P -m jaxgen resume '/shared/my runs/grokfast/modadd/paper' --save-every=30 &
wait
