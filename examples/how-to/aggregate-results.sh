#!/bin/bash
# aggregate-results.sh

echo "Aggregating results from 1000 workers..."

# Download all results
aws s3 sync s3://bucket/results/ /tmp/results/

# Aggregate with Python
python3 << 'EOF'
import json
import glob

results = []
for file in glob.glob('/tmp/results/worker-*.json'):
    with open(file) as f:
        results.append(json.load(f))

# Aggregate
total = sum(r['processed'] for r in results)
errors = sum(r['errors'] for r in results)
duration = max(r['duration'] for r in results)

summary = {
    'total_processed': total,
    'total_errors': errors,
    'max_duration': duration,
    'workers': len(results)
}

print(json.dumps(summary, indent=2))

with open('/tmp/summary.json', 'w') as f:
    json.dump(summary, f, indent=2)
EOF

# Upload summary
aws s3 cp /tmp/summary.json s3://bucket/summary.json

echo "Aggregation complete"
