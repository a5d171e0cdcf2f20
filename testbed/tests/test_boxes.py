"""Machines that really boot: user data, metadata credentials, TLS, services, interruptions, power."""

import base64
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

from account import IMAGE, Account, BedCase, until

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from box import boxes  # noqa: E402

try:
    boxes.check()
    MISSING = None
except boxes.Unavailable as reason:
    MISSING = str(reason)
    print(f"\n*** BOXES ARE NOT TESTED: {reason} ***\n", file=sys.stderr, flush=True)
    if os.environ.get("CI"):
        raise

IMDS = """
token=$(curl -sSf -X PUT http://169.254.169.254/latest/api/token -H 'X-aws-ec2-metadata-token-ttl-seconds: 300')
imds() { curl -sSf -H "X-aws-ec2-metadata-token: $token" "http://169.254.169.254/latest/$1"; }
"""


@unittest.skipIf(MISSING, MISSING)
class Boxes(BedCase):
    @classmethod
    def setUpClass(cls):
        exposed = tempfile.TemporaryDirectory()
        cls.addClassCleanup(exposed.cleanup)
        cls.exposed = pathlib.Path(exposed.name, "file")
        cls.exposed.write_text("a file of the host\n")
        cls.OPTIONS = ("--boxes", "--expose", exposed.name)
        super().setUpClass()
        cls.s3 = cls.account.client("s3")
        cls.s3.create_bucket(Bucket="results")
        statement = [
            {"Effect": "Allow", "Action": ["s3:PutObject", "s3:GetObject"], "Resource": "arn:aws:s3:::results/*"},
            {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::results"},
        ]
        cls.role(cls, "worker", statement)

    def boot(self, script, **arguments):
        (name,) = self.launch(
            UserData=script, IamInstanceProfile={"Name": "worker"}, InstanceInitiatedShutdownBehavior="terminate",
            MetadataOptions={"HttpTokens": "required"}, **arguments,
        )  # fmt: skip
        return name

    def console(self, name):
        return self.account.bed(f"machines/{name}/console")["console"]

    def says(self, name, text, seconds=30.0):
        def said():
            return text in self.console(name)

        try:
            until(said, seconds)
        except AssertionError as error:
            raise AssertionError(f"{text!r} is not in the console of {name}:\n{self.console(name)}") from error
        return self.console(name)

    def object(self, key):
        try:
            return self.s3.get_object(Bucket="results", Key=key)["Body"].read().decode()
        except self.s3.exceptions.NoSuchKey:
            return None

    def test_credentials_upload_spot_notice_power_off_and_replacement(self):
        self.account.enforce(True)
        script = "#!/bin/bash\nset -eu" + IMDS + """
id=$(imds meta-data/instance-id)
test "$(curl -s -o /dev/null -w '%{http_code}' http://169.254.169.254/latest/meta-data/instance-id)" = 401
imds meta-data/iam/security-credentials/worker | grep -q SecretAccessKey
echo "result of $id" > /tmp/result
aws s3 cp /tmp/result "s3://results/$id"
if aws s3 cp /tmp/result s3://elsewhere/x 2>/tmp/refused; then exit 1; fi
grep -q AccessDenied /tmp/refused
echo uploaded
until imds meta-data/spot/instance-action 2>/dev/null; do sleep 0.1; done
echo "noticed"
imds meta-data/spot/instance-action > /tmp/notice
aws s3 cp /tmp/notice "s3://results/$id.notice"
poweroff
sleep 60
echo never
"""
        template = self.template(
            "interrupted", UserData=base64.b64encode(script.encode()).decode(), IamInstanceProfile={"Name": "worker"},
            InstanceInitiatedShutdownBehavior="terminate", MetadataOptions={"HttpTokens": "required"},
        )  # fmt: skip
        reference = {"LaunchTemplateSpecification": {"LaunchTemplateId": template, "Version": "$Latest"}, "Overrides": [{"InstanceType": "c5.large"}]}
        policy = {"LaunchTemplate": reference, "InstancesDistribution": {"OnDemandPercentageAboveBaseCapacity": 0, "SpotAllocationStrategy": "price-capacity-optimized"}}
        self.group("interrupted", None, 1, MixedInstancesPolicy=policy)
        (name,) = self.settles("interrupted", 1)
        self.says(name, "uploaded")
        self.assertEqual(self.object(name), f"result of {name}\n")
        self.account.bed(f"machines/{name}/interrupt", notice=120)
        gone = self.state_is(name, "terminated")
        self.assertEqual(gone["reason"][0], "Client.InstanceInitiatedShutdown")
        self.assertIn('"action": "terminate"', self.object(f"{name}.notice"))
        self.assertNotIn("never", self.console(name))
        (other,) = self.settles("interrupted", 1)
        self.assertNotEqual(name, other)
        self.says(other, "uploaded")
        self.groups.delete_auto_scaling_group(AutoScalingGroupName="interrupted", ForceDelete=True)
        until(lambda: self.describe_group("interrupted") is None)

    def test_the_machine_is_as_cloud_init_leaves_it(self):
        name = self.boot("#!/bin/sh\ntr '\\0' '\\n' < /proc/$$/environ\necho cwd=$(pwd) host=$(hostname) home=${HOME-unset}\n. /etc/os-release; echo $ID\nls /tmp /root /home\necho done\n")
        text = self.says(name, "done\n")
        host = self.machine(name)["described"]["PrivateDnsName"].partition(".")[0]
        self.assertIn(f"cwd=/ host={host} home=unset", text)
        self.assertIn("amzn", text)
        variables = [line for line in text.splitlines() if line.partition("=")[0].isupper()]
        self.assertEqual(sorted(line.partition("=")[0] for line in variables), ["LANG", "PATH"])
        self.assertNotIn("Failed", text)

    def test_boxes_share_nothing(self):
        script = "#!/bin/sh\necho $$ > /tmp/mine\necho mine > /etc/mine\nhostname\nls /proc | grep -c '^[0-9]'\necho ready\nsleep 1000\n"
        first, second = self.boot(script), self.boot(script.replace("mine", "other"))
        self.says(first, "ready")
        self.says(second, "ready")
        for name in (first, second):
            self.assertLess(int(self.console(name).splitlines()[-2]), 12)
        self.assertNotEqual(self.console(first).splitlines()[-3], self.console(second).splitlines()[-3])
        self.assertFalse(pathlib.Path("/etc/mine").exists())
        self.assertFalse(pathlib.Path("/tmp/mine").exists())
        pid = self.machine(first)["box"]["init"]
        self.account.bed(f"machines/{first}/crash", "POST")
        self.state_is(first, "terminated")
        self.assertFalse(pathlib.Path(f"/proc/{pid}").exists())
        self.assertTrue(self.machine(second)["box"]["alive"])
        self.ec2.terminate_instances(InstanceIds=[second])
        self.state_is(second, "terminated")

    SERVICE = """#!/bin/bash
cat > /usr/local/bin/agent <<'AGENT'
#!/bin/bash
trap 'echo agent stopped >> /var/log/agent; exit 0' TERM
echo "agent started home=${HOME-unset}" >> /var/log/agent
[ "$(grep -c started /var/log/agent)" -gt 2 ] || exit 1
echo agent runs > /dev/null
while :; do sleep 0.1; done
AGENT
chmod +x /usr/local/bin/agent
cat > /etc/systemd/system/agent.service <<UNIT
[Unit]
Description=An agent
After=network-online.target
[Service]
ExecStart=/usr/local/bin/agent
Restart=on-failure
RestartSec=100ms
[Install]
WantedBy=multi-user.target
UNIT
systemctl daemon-reload
systemctl enable --now agent.service
until [ "$(grep -c started /var/log/agent)" = 3 ]; do sleep 0.05; done
systemctl is-active agent
echo service is up
"""

    def test_a_service_is_restarted_and_stopped_and_survives_a_stop(self):
        (name,) = self.launch(UserData=self.SERVICE, MetadataOptions={"HttpTokens": "required"})
        text = self.says(name, "service is up")
        self.assertEqual(text.count("agent.service: ended, exit-code 1"), 2)
        self.assertIn("\nactive\n", text)
        log = pathlib.Path(self.machine(name)["box"]["home"], "upper/var/log/agent")
        self.ec2.stop_instances(InstanceIds=[name])
        self.state_is(name, "stopped")
        until(lambda: not self.machine(name)["box"]["alive"])
        self.assertEqual(log.read_text().splitlines()[-1], "agent stopped")
        self.ec2.start_instances(InstanceIds=[name])
        self.state_is(name, "running")
        until(lambda: log.read_text().count("started") == 4)
        self.assertEqual(self.console(name).count("service is up"), 1)
        self.ec2.terminate_instances(InstanceIds=[name])
        self.state_is(name, "terminated")
        self.assertEqual(log.read_text().splitlines()[-1], "agent stopped")

    def test_a_service_that_fails_for_good_is_followed_by_another(self):
        name = self.boot("""#!/bin/bash
cat > /etc/systemd/system/fails.service <<'UNIT'
[Unit]
StartLimitIntervalSec=60
StartLimitBurst=2
OnFailure=follows.service
[Service]
ExecStart=/bin/false
Restart=on-failure
RestartSec=50ms
UNIT
cat > /etc/systemd/system/follows.service <<'UNIT'
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'shutdown -P now'
UNIT
systemctl daemon-reload
systemctl start --no-block fails.service
""")
        self.state_is(name, "terminated")
        text = self.console(name)
        self.assertEqual((text.count("started fails.service"), text.count("started follows.service")), (3, 1))

    def test_shutdown_behaviour_stop(self):
        (name,) = self.launch(UserData="#!/bin/sh\nshutdown -h now\n")
        self.state_is(name, "stopped")

    def test_metadata_outage(self):
        name = self.boot("#!/bin/bash" + IMDS + """
echo have a token
while imds meta-data/instance-id >/dev/null; do sleep 0.1; done
echo outage
until imds meta-data/instance-id >/dev/null 2>&1; do sleep 0.1; done
echo recovered
""")  # fmt: skip
        self.says(name, "have a token")
        self.account.bed(f"machines/{name}/metadata", down=True)
        self.says(name, "outage")
        self.account.bed(f"machines/{name}/metadata", down=False)
        self.says(name, "recovered")
        self.ec2.terminate_instances(InstanceIds=[name])

    def test_a_failing_script_is_told_and_output_is_fetched(self):
        name = self.boot("#!/bin/sh\necho to the console\nexit 7\n")
        self.says(name, "script ended with 7")
        output = self.ec2.get_console_output(InstanceId=name)["Output"]
        self.assertIn("to the console", output)
        self.ec2.terminate_instances(InstanceIds=[name])

    def test_what_is_not_installed_can_be(self):
        name = self.boot("#!/bin/sh\ncommand -v jq || echo no jq\ndnf install -y jq && jq -n '1+1'\ndnf install -y nonesuch || echo refused\necho over\n")
        text = self.says(name, "over")
        self.assertIn("no jq", text)
        self.assertIn("refused", text)
        if subprocess.run(["which", "jq"], capture_output=True, check=False).returncode == 0:
            self.assertIn("\n2\n", text)
        self.ec2.terminate_instances(InstanceIds=[name])

    def test_the_host_is_out_of_reach(self):
        name = self.boot("#!/bin/sh\nls /sys/fs/cgroup | wc -l\necho x > /proc/sysrq-trigger || echo no sysrq\nls /dev\nip -o -4 addr | grep -vc ' lo '\ncurl -sS -m 5 "
                         + self.account.url + "/bed/state || echo no bed\necho over\n")  # fmt: skip
        text = self.says(name, "over")
        self.assertIn("no sysrq", text)
        self.assertIn("no bed", text)
        lines = text.splitlines()
        self.assertEqual(lines[1], "0")
        self.assertNotIn("kmsg", lines)
        self.ec2.terminate_instances(InstanceIds=[name])

    def test_what_is_exposed_is_seen_and_kept(self):
        name = self.boot(f"#!/bin/sh\ncat {self.exposed}\necho x > {self.exposed} || echo kept\necho over\n")
        text = self.says(name, "over")
        self.assertIn("a file of the host\n", text)
        self.assertIn("kept", text)
        self.assertEqual(self.exposed.read_text(), "a file of the host\n")
        self.ec2.terminate_instances(InstanceIds=[name])

    def test_names_of_others_are_not_found(self):
        name = self.boot("#!/bin/sh\ncurl -sS https://example.com || echo not found\ncurl -sS -o /dev/null -w '%{http_code}\\n' https://sts.us-east-1.amazonaws.com/\necho over\n")
        text = self.says(name, "over")
        self.assertIn("not found", text)
        self.assertIn("Could not resolve host", text)
        self.assertNotIn("certificate", text)
        self.expected_violations()
        self.ec2.terminate_instances(InstanceIds=[name])


@unittest.skipIf(MISSING, MISSING)
class EndOfTheBed(unittest.TestCase):
    def test_boxes_end_with_a_bed_that_is_killed(self):
        account = Account("--boxes")
        self.addCleanup(account.close)
        image = account.client("ssm").get_parameter(Name=IMAGE)["Parameter"]["Value"]
        arguments = {"ImageId": image, "InstanceType": "c5.large", "MinCount": 1, "MaxCount": 1}
        launched = account.client("ec2").run_instances(UserData="#!/bin/sh\nsleep 1000\n", **arguments)
        name = launched["Instances"][0]["InstanceId"]
        box = pathlib.Path("/proc", str(until(lambda: (account.bed(f"machines/{name}")["box"] or {}).get("init"))))
        os.kill(int((account.directory / "pid").read_text()), 9)
        until(lambda: not box.exists())
