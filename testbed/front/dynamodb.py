"""DynamoDB by another engine: a program that serves a directory and prints its address and keys.

Without one, the engine serves DynamoDB one call at a time, which makes single calls atomic and
transactions slow. spawn's own endpoint (`spawn-endpoint/examples/serve.rs`) is such a program.
"""

import concurrent.futures
import http.client
import queue
import re
import subprocess
import threading
from urllib.parse import urlparse

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from .call import Reply


# Calls at a time.
THREADS = 16


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
        self._start()

    def _start(self):
        # Threads that serve a box are in its network, and so is every thread that they start. These
        # are started here, where the program can be reached.
        self._calls = queue.SimpleQueue()
        for number in range(THREADS):
            threading.Thread(target=self._run, name=f"dynamodb {number}", daemon=True).start()

    def _run(self):
        address = urlparse(self._url)
        while True:
            call, answer = self._calls.get()
            connection = http.client.HTTPConnection(address.hostname, address.port, timeout=60)
            try:
                answer.set_result(self._forward(connection, call))
            except Exception as error:  # pylint: disable=broad-except
                answer.set_exception(error)
            finally:
                connection.close()

    def handle(self, call):
        answer = concurrent.futures.Future()
        self._calls.put((call, answer))
        return answer.result()

    def _forward(self, connection, call):
        kept = {name: value for name, value in call.headers if name.lower() in ("x-amz-target", "content-type")}
        request = AWSRequest("POST", self._url + "/", headers=kept, data=call.body)
        SigV4Auth(self._credentials, "dynamodb", call.region).add_auth(request)
        connection.request("POST", "/", body=call.body, headers=dict(request.headers.items()))
        answer = connection.getresponse()
        return Reply(answer.status, answer.getheaders(), answer.read())

    def stop(self):
        self._process.terminate()
        self._process.wait(10)
