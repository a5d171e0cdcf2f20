#!/bin/bash
# process-chunk.sh

CHUNK_SIZE=100
START=$((TASK_ARRAY_INDEX * CHUNK_SIZE))
END=$((START + CHUNK_SIZE))

echo "Processing files $START to $((END - 1))"

for i in $(seq $START $((END - 1))); do
  FILE_NUM=$(printf "%05d" $i)
  INPUT_FILE="s3://my-bucket/input/file-${FILE_NUM}.csv"
  OUTPUT_FILE="s3://my-bucket/output/file-${FILE_NUM}-processed.csv"

  echo "Processing file $FILE_NUM..."
  aws s3 cp "$INPUT_FILE" /tmp/input.csv
  python process.py /tmp/input.csv /tmp/output.csv
  aws s3 cp /tmp/output.csv "$OUTPUT_FILE"
  rm /tmp/input.csv /tmp/output.csv
done

echo "Completed chunk $TASK_ARRAY_INDEX"
spored complete --status success
