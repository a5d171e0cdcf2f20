"""HTTP and HTTPS: reads requests whole, hands them to the bed, writes the answers."""

import http.server
import json
import socket
import socketserver
import ssl
import threading

from .call import Call, DropConnection


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self):
        if isinstance(self.request, ssl.SSLSocket):
            self.request.settimeout(20)
            self.request.do_handshake()
            self.request.settimeout(None)
        super().setup()

    def log_message(self, *_):
        pass

    def _body(self):
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            chunks = []
            while True:
                size = int(self.rfile.readline().split(b";")[0], 16)
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
                if size == 0:
                    return b"".join(chunks)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _any(self):
        body = self._body()
        path = self.path
        if path.startswith("http://") or path.startswith("https://"):
            path = "/" + path.split("/", 3)[3] if path.count("/") > 2 else "/"
        try:
            status, headers, answer = self.server.respond(self.command, path, self.headers.items(), body)
        except DropConnection:
            self.close_connection = True
            # An abortive close: the client sees its connection reset, not an empty answer.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            return
        self.send_response_only(status)
        names = set()
        for name, value in headers:
            if name.lower() in ("connection", "transfer-encoding", "content-length") and self.command != "HEAD":
                continue
            if name.lower() in ("connection", "transfer-encoding"):
                continue
            names.add(name.lower())
            self.send_header(name, value)
        if "date" not in names:
            self.send_header("Date", self.date_time_string())
        if "content-length" not in names and status != 204:
            self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        if self.command != "HEAD" and status not in (204, 304):
            self.wfile.write(answer)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_PATCH = do_OPTIONS = _any


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 256

    def __init__(self, listener, respond, context=None):
        """Serves `listener`, a bound socket that may belong to another network namespace."""
        super().__init__(listener.getsockname(), Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.socket.listen(self.request_queue_size)
        self._context = context
        self.respond = respond
        self.address = listener.getsockname()

    def get_request(self):
        connection, address = self.socket.accept()
        if self._context:
            connection = self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def handle_error(self, request, client_address):
        pass  # a client that went away

    def start(self):
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True).start()
        return self

    def stop(self):
        self.shutdown()
        self.server_close()


def loopback():
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", 0))
    return listener


def responder(bed, control, secure):
    """Routes a request: the bed's control, one machine's metadata, the engine's own pages, or AWS."""

    def respond(method, target, headers, body):
        if target.startswith("/bed/imds/"):
            return imds(bed, method, target, headers)
        if target.startswith("/bed/"):
            status, answer = control.handle(method, target, body)
            return status, [("Content-Type", "application/json")], json.dumps(answer, default=str).encode() + b"\n"
        if target == "/moto-api/reset-auth":
            free = float(body or b"inf")
            before = bed.policies.reset(free)
            return 200, [("Content-Type", "application/json")], json.dumps(
                {"status": "ok", "PREVIOUS_INITIAL_NO_AUTH_ACTION_COUNT": str(before)}
            ).encode()
        call = Call(method, target, list(headers), body, secure)
        if target.startswith("/moto-api"):
            reply = bed.engine.handle(call)
        else:
            reply = bed.handle(call)
        return reply.status, reply.headers, reply.body

    return respond


def imds(bed, method, target, headers):
    """One machine's metadata service under `/bed/imds/INSTANCE/`, for clients outside a box."""
    name, _, path = target[len("/bed/imds/") :].partition("/")
    machine = bed.machines.all.get(name)
    if machine is None:
        return 404, [], b"no such instance\n"
    return machine_metadata(bed, machine)(method, "/" + path, headers, b"")


def machine_metadata(bed, machine):
    def respond(method, target, headers, body):
        with bed.lock:
            answer = bed.metadata.answer(machine, method, target, {name.lower(): value for name, value in headers})
        if answer is None:
            raise DropConnection("metadata service is out")
        return answer.status, [("Content-Type", answer.kind), ("Server", "EC2ws"), *answer.headers], answer.body

    return respond
