#!/bin/sh
# Prints the Secret `secure-tls`: a certificate that signs itself, good for 30 days. With a folder as argument the certificate
# is left there as well, for clients to trust.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=secure.example \
  -addext 'subjectAltName=DNS:secure.example,DNS:*.secure.example' \
  -keyout "$folder/tls.key" -out "$folder/tls.crt" 2> "$folder/log" || { cat "$folder/log" >&2; exit 1; }
[ $# -eq 0 ] || cp "$folder/tls.crt" "$1/secure.crt"
cat <<END
apiVersion: v1
kind: Secret
metadata: {name: secure-tls}
type: kubernetes.io/tls
data:
  tls.crt: $(base64 < "$folder/tls.crt" | tr -d '\n')
  tls.key: $(base64 < "$folder/tls.key" | tr -d '\n')
END
