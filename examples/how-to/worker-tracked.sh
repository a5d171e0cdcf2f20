#!/bin/bash
# worker-tracked.sh

ARRAY_ID="array-20260127-abc123"
PROGRESS_TABLE="spawn-progress"

update_progress() {
  local status=$1
  local tasks_completed=$2

  aws dynamodb put-item \
    --table-name $PROGRESS_TABLE \
    --item "{
      \"array_id\": {\"S\": \"$ARRAY_ID\"},
      \"task_index\": {\"N\": \"$TASK_ARRAY_INDEX\"},
      \"status\": {\"S\": \"$status\"},
      \"tasks_completed\": {\"N\": \"$tasks_completed\"},
      \"last_update\": {\"S\": \"$(date -u +%Y-%m-%dT%H:%M:%SZ)\"},
      \"hostname\": {\"S\": \"$(hostname)\"}
    }"
}

# Update: started
update_progress "running" 0

# Process tasks
COMPLETED=0
while true; do
  # ... process task ...
  COMPLETED=$((COMPLETED + 1))

  # Update progress every 10 tasks
  if [ $((COMPLETED % 10)) -eq 0 ]; then
    update_progress "running" $COMPLETED
  fi
done

# Update: completed
update_progress "completed" $COMPLETED
spored complete --status success
