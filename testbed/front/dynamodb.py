"""DynamoDB by another engine: a program that serves a directory and prints its address and keys.

Without one, the engine serves DynamoDB one call at a time, which makes single calls atomic and
transactions slow. spawn's own endpoint (`spawn-endpoint/examples/serve.rs`) is such a program.
"""

import http.client
import re
import subprocess
from urllib.parse import urlparse

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from .call import Reply


class OtherDynamoDb:
    def __init__(self, program, directory):
        directory.mkdir(parents=True, exist_ok=True)
        self._process = subprocess.Popen([program, str(directory)], stdout=subprocess.PIPE, text=True)
        exported = {}
        while len(exported) < 4:
            line = self._process.stdout.readline()
            if not line:
                raise RuntimeError(f"{program} ended before it printed its address and keys")
            found = re.match(r"export (\w+)=(.*)", line.strip())
            if found:
                exported[found.group(1)] = found.group(2)
        self._credentials = Credentials(exported["AWS_ACCESS_KEY_ID"], exported["AWS_SECRET_ACCESS_KEY"])
        self._url = exported["AWS_ENDPOINT_URL"]

    def handle(self, call):
        kept = {name: value for name, value in call.headers if name.lower() in ("x-amz-target", "content-type")}
        request = AWSRequest("POST", self._url + "/", headers=kept, data=call.body)
        SigV4Auth(self._credentials, "dynamodb", call.region).add_auth(request)
        address = urlparse(self._url)
        connection = http.client.HTTPConnection(address.hostname, address.port, timeout=60)
        try:
            connection.request("POST", "/", body=call.body, headers=dict(request.headers.items()))
            answer = connection.getresponse()
            return Reply(answer.status, answer.getheaders(), answer.read())
        finally:
            connection.close()

    def stop(self):
        self._process.terminate()
        self._process.wait(10)
