//! An embedded, durable S3, SQS and DynamoDB endpoint on one loopback port
