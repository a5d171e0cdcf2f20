#!/bin/bash
# Brings spored-node onto this machine and starts it. With `give-up`: the service cannot stay up.
set -u
# What is installed is for all; what is ours lies in directories that only root enters.
umask 022
export PATH="${PATH:-}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
root=@ROOT@
home=$root/opt/spawn
metadata=@METADATA@
bucket=@BUCKET@
scaling=@SCALING@
region=@REGION@
unit=spored-node.service
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

# signed SERVICE ...: curl with the role's signature. The secret is on no command line.
signed() {
  local role credentials service=$1
  shift
  role=$(about iam/security-credentials/) || return 1
  credentials=$(about "iam/security-credentials/${role%%[[:space:]]*}") || return 1
  printf 'user = "%s:%s"\nheader = "x-amz-security-token: %s"\n' \
    "$(field AccessKeyId)" "$(field SecretAccessKey)" "$(field Token)" |
    curl -K - --fail-with-body -sS --connect-timeout 10 -m 300 --aws-sigv4 "aws:amz:$region:$service" "$@"
}

# fetch KEY SHA256 NAME MODE
fetch() {
  local to=$home/$3
  if ! echo "$2  $to" | sha256sum --status -c - 2> /dev/null; then
    signed s3 -H 'x-amz-content-sha256: @NONE@' -o "$to.part" "$bucket/$1" ||
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
  # Ubuntu 24.04 has the AWS CLI as a snap only.
  [ "$1" = aws ] && ! command -v aws > /dev/null && command -v snap > /dev/null && snap install aws-cli --classic
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

# What the service says of its end, or why it cannot begin.
last_words() {
  local said
  if ! said=$("$home/spored-node" --version 2>&1); then
    echo "the agent program does not run here: ${said##*$'\n'}"
    return
  fi
  said=$(journalctl -u "$unit" -o cat -n 200 --no-pager 2> /dev/null | grep '^spored-node: ' | tail -n 1)
  echo "${said:-the agent program ends again and again, and says nothing}"
}

# Groups replace machines that go. Once many have gone this way, this group starts no more.
suspend_launches() {
  local notes said
  notes=$(signed s3 -H 'x-amz-content-sha256: @NONE@' \
    "$bucket/?list-type=2&max-keys=@MOST@&prefix="@LISTED@) || { say "cannot count the failed boots"; return 1; }
  [ "$(grep -o '<Key>' <<< "$notes" | wc -l)" -ge @MOST@ ] || return 0
  say "@MOST@ machines could not serve: the group starts no more"
  said=$(signed autoscaling --data @SUSPEND@ "$scaling/" 2>&1) && return 0
  grep -q 'not found' <<< "$said" || { say "cannot stop the group's launches: $said"; return 1; }
}

# Leaves a note and sees to the group. Only then may the machine go: one that goes without is
# replaced by one that fares no better, for as long as the array lives.
farewell() {
  local id
  id=$(about instance-id) && [ -n "$id" ] &&
    signed s3 -X PUT -H 'content-type: text/plain' -H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' \
      --data-raw "$why" "$bucket/"@NOTES@"$id" || { say "cannot leave a note in the bucket"; return 1; }
@SUSPENDS@}

give_up() {
  shutdown -P now
  exit 1
}

get_ready() {
  mkdir -p "$home" "$dir" "$root/etc/systemd/system" && chown "$EUID" "$home" "$dir" &&
    chmod 700 "$home" "$dir" || { fail "cannot make $home"; return 1; }
@FETCHES@@NEEDS@  printf '%s\n' @CONFIG@ > "$home/config.json" || { fail "cannot write $home"; return 1; }
  cat "${BASH_SOURCE[0]}" > "$home/boot" && chmod 600 "$home/boot" "$home/config.json" ||
    { fail "cannot write $home/boot"; return 1; }
  cat > "$root/etc/systemd/system/spored-node-gives-up.service" << UNIT || return 1
[Unit]
Description=spawn: this machine cannot serve

[Service]
Type=oneshot
ExecStart=/bin/bash "$home/boot" give-up
UNIT
  cat > "$root/etc/systemd/system/$unit" << UNIT || return 1
[Unit]
Description=spawn: serves an array of tasks
After=network-online.target
Wants=network-online.target
StartLimitIntervalSec=900
StartLimitBurst=8
OnFailure=spored-node-gives-up.service

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
  systemctl daemon-reload && systemctl enable "$unit" &&
    systemctl start --no-block "$unit" || fail "cannot start the service"
}

if [ "${1-}" = give-up ]; then
  why=$(last_words)
  say "$why"
  until farewell; do sleep @PAUSE@; done
  give_up
fi

roomy_tmp
rest=2
until get_ready; do
  if [ $((SECONDS + rest)) -ge @PATIENCE@ ]; then
    say "not ready after $SECONDS s: $why"
    farewell && give_up
    # It is this machine or another like it: the next round may fare better.
    rest=@PAUSE@
  fi
  sleep "$rest"
  rest=$((rest < 30 ? rest * 2 : rest))
done
say "ready after $SECONDS s"
