"""An AWS account on this machine: the engine, what it lacks, and faults on order."""
