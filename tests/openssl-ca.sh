# Certificates by openssl, for the scripts that source this: authorities with any life, and what they sign.
# Times are YYYYMMDDHHMMSSZ. Where openssl fails, what it said is told, and the script ends.

# ca_begin DIR NAMES: the directory that keeps an authority's records; server certificates are made out to NAMES (`DNS:node1,IP:192.0.2.11`).
ca_begin() {
    ca_dir=$1
    mkdir -p "$ca_dir"
    : > "$ca_dir/index.txt"
    cat > "$ca_dir/openssl.cnf" <<CNF
[ca]
default_ca = here
[here]
database = $ca_dir/index.txt
new_certs_dir = $ca_dir
rand_serial = yes
default_md = sha256
policy = any
unique_subject = no
copy_extensions = copyall
[any]
organizationName = optional
commonName = supplied
[authority]
basicConstraints = critical,CA:true
keyUsage = critical,keyCertSign,digitalSignature
subjectKeyIdentifier = hash
[client]
basicConstraints = critical,CA:false
keyUsage = critical,digitalSignature
extendedKeyUsage = clientAuth
authorityKeyIdentifier = keyid
[server]
basicConstraints = critical,CA:false
keyUsage = critical,digitalSignature
extendedKeyUsage = serverAuth
authorityKeyIdentifier = keyid
subjectAltName = $2
[reissue]
CNF
}

# ca_go_on DIR: with what ca_begin has made earlier.
ca_go_on() { ca_dir=$1; }

ca_run() { "$@" 2> "$ca_dir/log" || { cat "$ca_dir/log" >&2; exit 1; }; }

# ca_request KEY SUBJECT: a new P-256 key, and the request to sign it.
ca_request() { ca_run openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$1" -subj "$2" -out "$ca_dir/csr"; }

# ca_request_again CERTIFICATE KEY: the request for the same certificate with another life.
ca_request_again() { ca_run openssl x509 -x509toreq -copy_extensions copyall -in "$1" -signkey "$2" -out "$ca_dir/csr"; }

# ca_sign OUT FROM TO EXTENSIONS CA-KEY [CA-CERTIFICATE]: signs what was requested; without a certificate the authority's own.
ca_sign() {
    local by=(-selfsign)
    [ -z "${6:-}" ] || by=(-cert "$6")
    ca_run openssl ca -batch -notext -config "$ca_dir/openssl.cnf" -keyfile "$5" "${by[@]}" -in "$ca_dir/csr" -startdate "$2" -enddate "$3" \
        -extensions "$4" -out "$1"
}
