#!/bin/bash
# worker.sh
set -e

QUEUE_URL="https://sqs.us-east-1.amazonaws.com/123456789012/spawn-tasks"
PROCESSED=0

echo "Worker $TASK_ARRAY_INDEX starting..."

while true; do
  # Get task from queue
  MESSAGE=$(aws sqs receive-message \
    --queue-url $QUEUE_URL \
    --max-number-of-messages 1 \
    --visibility-timeout 300 \
    --wait-time-seconds 20 \
    --query 'Messages[0]' \
    --output json)

  if [ "$MESSAGE" == "null" ]; then
    echo "Queue empty, worker done"
    break
  fi

  # Extract task and receipt handle
  TASK=$(echo $MESSAGE | jq -r '.Body')
  RECEIPT=$(echo $MESSAGE | jq -r '.ReceiptHandle')

  echo "Processing: $TASK"

  # Process task
  aws s3 cp "s3://my-bucket/input/$TASK" /tmp/input.csv
  python process.py /tmp/input.csv /tmp/output.csv
  aws s3 cp /tmp/output.csv "s3://my-bucket/output/$TASK"

  # Delete message from queue
  aws sqs delete-message --queue-url $QUEUE_URL --receipt-handle "$RECEIPT"

  PROCESSED=$((PROCESSED + 1))
  echo "Completed $PROCESSED tasks"
done

echo "Worker $TASK_ARRAY_INDEX finished: $PROCESSED tasks"
spored complete --status success
