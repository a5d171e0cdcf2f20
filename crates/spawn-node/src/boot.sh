#!/bin/bash
# Brings spored-node onto this machine and starts it.
set -u
export PATH="${PATH:-}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
root=@ROOT@
home=$root/opt/spawn
metadata=@METADATA@
bucket=@BUCKET@
region=@REGION@
dir=@DIR@
why=

say() { echo "spawn: $*"; }
fail() { why=$*; say "$why"; return 1; }

# A file of the instance's metadata.
about() {
  local token
  token=$(curl -fsS -m 5 -X PUT -H 'x-aws-ec2-metadata-token-ttl-seconds: 300' "$metadata/latest/api/token") &&
    curl -fsS -m 5 -H "x-aws-ec2-metadata-token: $token" "$metadata/latest/meta-data/$1"
}

field() { sed -n "s/.*\"$1\" *: *\"\([^\"]*\)\".*/\1/p" <<< "$credentials"; }

# curl with the role's signature. The secret is on no command line.
signed() {
  local role credentials
  role=$(about iam/security-credentials/) || return 1
  credentials=$(about "iam/security-credentials/${role%%[[:space:]]*}") || return 1
  printf 'user = "%s:%s"\nheader = "x-amz-security-token: %s"\n' \
    "$(field AccessKeyId)" "$(field SecretAccessKey)" "$(field Token)" |
    curl -K - -fsS --connect-timeout 10 -m 300 --aws-sigv4 "aws:amz:$region:s3" "$@"
}

# fetch KEY SHA256 NAME MODE
fetch() {
  local to=$home/$3
  if ! echo "$2  $to" | sha256sum --status -c - 2> /dev/null; then
    signed -H 'x-amz-content-sha256: @NONE@' -o "$to.part" "$bucket/$1" ||
      { fail "cannot fetch $1 with the instance's role"; return 1; }
    echo "$2  $to.part" | sha256sum --status -c - ||
      { rm -f "$to.part"; fail "$1 has not the SHA-256 $2"; return 1; }
    mv "$to.part" "$to" || { fail "cannot write $to"; return 1; }
  fi
  chmod "$4" "$to"
}

# need COMMAND DNF-PACKAGE APT-PACKAGE
need() {
  command -v "$1" > /dev/null && return 0
  say "installing $1"
  if command -v dnf > /dev/null; then
    dnf -y -q install "$2"
  elif command -v apt-get > /dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq -o DPkg::Lock::Timeout=120 update
    apt-get -qq -y -o DPkg::Lock::Timeout=120 --no-install-recommends install "$3"
  fi
  command -v "$1" > /dev/null || fail "the script needs $1, which cannot be installed"
}

# Scripts expect room in /tmp; memory is theirs for other things.
roomy_tmp() {
  [ -z "$root" ] && [ "$(stat -f -c %T /tmp)" = tmpfs ] || return 0
  mkdir -p /var/lib/spawn/tmp && chmod 1777 /var/lib/spawn/tmp &&
    mount --bind /var/lib/spawn/tmp /tmp || say "no disk-backed /tmp"
}

# The authorities that this machine trusts.
authorities() {
  local file
  for file in /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/certs/ca-certificates.crt; do
    [ -s "$file" ] && echo "Environment=AWS_CA_BUNDLE=$file" && return
  done
}

get_ready() {
  mkdir -p "$home" "$dir" "$root/etc/systemd/system" || { fail "cannot make $home"; return 1; }
@FETCHES@@NEEDS@  printf '%s\n' @CONFIG@ > "$home/config.json" || { fail "cannot write $home"; return 1; }
  cat > "$root/etc/systemd/system/spored-node.service" << UNIT || return 1
[Unit]
Description=spawn: serves an array of tasks
After=network-online.target
Wants=network-online.target
StartLimitIntervalSec=900
StartLimitBurst=8
StartLimitAction=poweroff

[Service]
$(authorities)
ExecStart="$home/spored-node" --config "$home/config.json"
ExecStopPost=/bin/sh -c 'if [ "\$SERVICE_RESULT" = success ]; then shutdown -P +10; fi'
Restart=on-failure
RestartSec=5
KillMode=mixed
TimeoutStopSec=75
LimitNOFILE=524288
TasksMax=infinity
OOMPolicy=continue
Delegate=yes

[Install]
WantedBy=multi-user.target
UNIT
  systemctl daemon-reload && systemctl enable spored-node.service &&
    systemctl start --no-block spored-node.service || fail "cannot start the service"
}

roomy_tmp
rest=2
until get_ready; do
  if [ $((SECONDS + rest)) -ge @PATIENCE@ ]; then
    say "not ready after $SECONDS s: $why"
    note=$(mktemp) && echo "$why" > "$note" &&
      signed -X PUT -T "$note" -H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' \
        "$bucket/"@NOTES@"$(about instance-id)"
    shutdown -P now
    exit 1
  fi
  sleep "$rest"
  rest=$((rest < 30 ? rest * 2 : 30))
done
say "ready after $SECONDS s"
