#!/bin/bash
# monitor-progress.sh

ARRAY_ID="array-20260127-abc123"
PROGRESS_TABLE="spawn-progress"

while true; do
  # Query all workers
  ITEMS=$(aws dynamodb scan \
    --table-name $PROGRESS_TABLE \
    --filter-expression "array_id = :array_id" \
    --expression-attribute-values '{":array_id":{"S":"'$ARRAY_ID'"}}' \
    --query 'Items[*].[task_index.N, status.S, tasks_completed.N]' \
    --output text)

  # Count by status
  RUNNING=$(echo "$ITEMS" | grep running | wc -l)
  COMPLETED=$(echo "$ITEMS" | grep completed | wc -l)
  TOTAL_TASKS=$(echo "$ITEMS" | awk '{sum += $3} END {print sum}')

  clear
  echo "Array Progress: $ARRAY_ID"
  echo "================================"
  echo "Running workers: $RUNNING"
  echo "Completed workers: $COMPLETED"
  echo "Total tasks processed: $TOTAL_TASKS"
  echo ""
  echo "Recent updates:"
  echo "$ITEMS" | sort -n | tail -10

  sleep 10
done
