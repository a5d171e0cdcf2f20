"""The resolver of a box: the names of AWS and of the machine itself, and no others."""

import socket
import struct
import threading

ADDRESS, ADDRESS_6, ANY = 1, 28, 255
AWS_DOMAINS = (".amazonaws.com", ".api.aws", ".amazonaws.com.cn")


class Resolver:
    """Answers queries on `listener`, a bound UDP socket. `fixed` maps names to addresses."""

    def __init__(self, listener, aws_address, fixed):
        self._socket = listener
        self._aws = aws_address
        self._fixed = fixed
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                query, sender = self._socket.recvfrom(4096)
            except OSError:
                return
            try:
                self._socket.sendto(self.answer(query), sender)
            except (OSError, IndexError, struct.error, UnicodeDecodeError):
                continue

    def answer(self, query):
        name, position = [], 12
        while query[position]:
            length = query[position]
            name.append(query[position + 1 : position + 1 + length].decode("ascii").lower())
            position += length + 1
        kind = struct.unpack(">H", query[position + 1 : position + 3])[0]
        question = query[12 : position + 5]
        name = ".".join(name)
        address = self._fixed.get(name)
        if address is None and any(name.endswith(domain) for domain in AWS_DOMAINS):
            address = self._aws
        code = 0 if address else 3
        record = b""
        if address and kind in (ADDRESS, ANY):
            record = struct.pack(">HHHIH", 0xC00C, ADDRESS, 1, 60, 4) + socket.inet_aton(address)
        flags = 0x8580 | code
        return query[:2] + struct.pack(">HHHHH", flags, 1, 1 if record else 0, 0, 0) + question + record

    def close(self):
        self._socket.close()
