"""A TLS server: serve.py PEM [tls12] [client]. Prints its port, then of each connection what it read, or why it failed."""
import socket, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1])
if "tls12" in sys.argv: context.maximum_version = ssl.TLSVersion.TLSv1_2
if "client" in sys.argv:
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(sys.argv[1])
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
while True:
    connection, _ = server.accept()
    try:
        with context.wrap_socket(connection, server_side=True, suppress_ragged_eofs=False) as tls:
            print("read", tls.recv(100), flush=True)
            tls.unwrap()
    except (OSError, ssl.SSLError) as error:
        print("error", error, flush=True)
