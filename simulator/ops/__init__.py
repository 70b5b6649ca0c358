"""Fleet operations through boto3, alike on the sandbox and on AWS: what a fleet needs before it can connect,
and what the cloud knows of it afterwards. Nothing here prints; progress goes to a callback."""
