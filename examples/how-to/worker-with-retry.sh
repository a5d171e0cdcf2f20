#!/bin/bash
# worker-with-retry.sh

process_task() {
  local task=$1
  local max_attempts=3
  local attempt=1

  while [ $attempt -le $max_attempts ]; do
    echo "Processing $task (attempt $attempt/$max_attempts)"

    if process_file "$task"; then
      echo "Success on attempt $attempt"
      return 0
    else
      echo "Failed attempt $attempt"
      if [ $attempt -lt $max_attempts ]; then
        sleep $((2 ** attempt))  # Exponential backoff
      fi
      attempt=$((attempt + 1))
    fi
  done

  echo "Failed after $max_attempts attempts"
  return 1
}

process_file() {
  local task=$1

  # Download
  aws s3 cp "s3://bucket/input/$task" /tmp/input.csv || return 1

  # Process
  python process.py /tmp/input.csv /tmp/output.csv || return 1

  # Upload
  aws s3 cp /tmp/output.csv "s3://bucket/output/$task" || return 1

  return 0
}

# Main loop
while true; do
  MESSAGE=$(aws sqs receive-message --queue-url $QUEUE_URL ...)
  [ "$MESSAGE" == "null" ] && break

  TASK=$(echo $MESSAGE | jq -r '.Body')
  RECEIPT=$(echo $MESSAGE | jq -r '.ReceiptHandle')

  if process_task "$TASK"; then
    # Success: delete from queue
    aws sqs delete-message --queue-url $QUEUE_URL --receipt-handle "$RECEIPT"
  else
    # Failed: leave in queue (will be retried by another worker)
    echo "Task failed, leaving in queue for retry"
  fi
done
