#!/bin/bash
# spot-worker.sh

STATE_FILE="/tmp/worker-state.json"
CHECKPOINT_S3="s3://my-bucket/checkpoints/worker-${TASK_ARRAY_INDEX}.json"

# Load checkpoint if exists
if aws s3 cp "$CHECKPOINT_S3" "$STATE_FILE" 2>/dev/null; then
  RESUME_FROM=$(jq -r '.last_completed' $STATE_FILE)
  echo "Resuming from task $RESUME_FROM"
else
  RESUME_FROM=0
  echo "Starting fresh"
fi

# Checkpoint function
checkpoint() {
  echo "{\"last_completed\": $1, \"timestamp\": \"$(date -u +%Y-%m-%dT%H:%M:%SZ)\"}" > $STATE_FILE
  aws s3 cp $STATE_FILE "$CHECKPOINT_S3"
}

# Trap spot interruption signal
trap 'echo "Spot interruption! Checkpointing..."; checkpoint $COMPLETED; exit 0' SIGTERM

# Process tasks
COMPLETED=$RESUME_FROM
CHUNK_SIZE=100
START=$((TASK_ARRAY_INDEX * CHUNK_SIZE))
END=$((START + CHUNK_SIZE))

for i in $(seq $START $((END - 1))); do
  if [ $i -lt $RESUME_FROM ]; then
    continue  # Skip already completed
  fi

  # Process task
  process_file $i

  COMPLETED=$i

  # Checkpoint every 10 tasks
  if [ $((i % 10)) -eq 0 ]; then
    checkpoint $COMPLETED
  fi
done

# Final checkpoint
checkpoint $COMPLETED
spored complete --status success
