#!/bin/bash
# conditional-worker.sh

process_if_needed() {
  local input_file=$1
  local output_file=$2

  # Check if output already exists
  if aws s3 ls "$output_file" &> /dev/null; then
    echo "Output exists, skipping: $output_file"
    return 0
  fi

  echo "Processing: $input_file"

  # Download
  aws s3 cp "$input_file" /tmp/input.csv

  # Process
  python process.py /tmp/input.csv /tmp/output.csv

  # Upload
  aws s3 cp /tmp/output.csv "$output_file"

  echo "Completed: $output_file"
}

# Process chunk
CHUNK_SIZE=100
START=$((TASK_ARRAY_INDEX * CHUNK_SIZE))
END=$((START + CHUNK_SIZE))

PROCESSED=0
SKIPPED=0

for i in $(seq $START $((END - 1))); do
  FILE_NUM=$(printf "%05d" $i)
  INPUT="s3://my-bucket/input/file-${FILE_NUM}.csv"
  OUTPUT="s3://my-bucket/output/file-${FILE_NUM}-result.csv"

  if process_if_needed "$INPUT" "$OUTPUT"; then
    if aws s3 ls "$OUTPUT" &> /dev/null; then
      SKIPPED=$((SKIPPED + 1))
    else
      PROCESSED=$((PROCESSED + 1))
    fi
  fi
done

echo "Worker $TASK_ARRAY_INDEX: Processed $PROCESSED, Skipped $SKIPPED"
spored complete --status success
