# Profile task on different instance types
for TYPE in t3.medium m7i.large c7i.xlarge; do
  echo "Testing $TYPE..."
  spawn launch --instance-type $TYPE --ttl 30m --user-data @benchmark.sh
done
