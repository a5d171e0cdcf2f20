//! A small cloud behind the client's transport: strict about names, tokens and order, and able to
//! lose any one request or answer.

mod form;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use form::{encoded, form};
use spawn_aws::client::{
    Client, Clock, Config, HttpRequest, HttpResponse, Method, Overrides, Patience, Transport,
    TransportError,
};
use spawn_aws::credentials::Credentials;

/// What goes wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It does not arrive.
    Unsent,
    /// It is carried out, and its answer is lost.
    Lost,
}

#[derive(Debug, Default)]
pub struct Group {
    pub fields: Fields,
    pub size: u32,
    pub max: u32,
    pub actions: BTreeMap<String, Fields>,
    pub suspended: Vec<String>,
}

pub type Fields = BTreeMap<String, String>;

#[derive(Debug, Default)]
pub struct State {
    pub templates: BTreeMap<String, Fields>,
    pub groups: BTreeMap<String, Group>,
    pub roles: BTreeMap<String, Fields>,
    pub policies: BTreeMap<(String, String), String>,
    /// Roles and the managed policies that they have.
    pub attached: BTreeSet<(String, String)>,
    /// Profiles with their roles.
    pub profiles: BTreeMap<String, Option<String>>,
    pub objects: BTreeMap<String, Vec<u8>>,
    pub schedules: Vec<String>,
    /// Machines that were ever started.
    pub started: u32,
    /// Every operation that arrived.
    pub calls: Vec<String>,
    /// Requests so far, those that did not arrive too.
    pub requests: usize,
    pub fault: Option<(usize, Fault)>,
    pub seconds: u64,
    pub random: u64,
}

#[derive(Debug, Clone, Default)]
pub struct Cloud(Arc<Mutex<State>>);

const START: u64 = 1_800_000_000;

impl Cloud {
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// A client that sends each call at most `attempts` times.
    pub fn client(&self, attempts: u32) -> Client {
        Client::new(Config {
            region: "eu-west-1".to_owned(),
            credentials: Arc::new(Credentials::fixed("AKIAIOSFODNN7EXAMPLE", "secret")),
            endpoints: Overrides::everything_at("http://cloud.test"),
            transport: Arc::new(self.clone()),
            clock: Arc::new(self.clone()),
            patience: Patience {
                attempts,
                ..Patience::default()
            },
        })
    }

    /// Loses the request or the answer with this number, counted from here.
    pub fn fail(&self, nth: usize, fault: Fault) {
        let mut state = self.state();
        let at = state.requests + nth;
        state.fault = Some((at, fault));
    }

    pub fn pass(&self, seconds: u64) {
        self.state().seconds += seconds;
    }

    /// Operations that change something, so far.
    pub fn changing(&self) -> Vec<String> {
        let is_read = |call: &&String| {
            ["Describe", "Get", "List"]
                .iter()
                .any(|verb| call.starts_with(verb))
        };
        let state = self.state();
        state
            .calls
            .iter()
            .filter(|c| !is_read(c))
            .cloned()
            .collect()
    }
}

pub fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(START)
}

impl Clock for Cloud {
    fn wall(&self) -> SystemTime {
        now() + Duration::from_secs(self.state().seconds)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_secs(self.state().seconds)
    }

    fn sleep(&self, time: Duration) {
        self.state().seconds += time.as_secs();
    }

    fn random(&self) -> u64 {
        let mut state = self.state();
        state.random += 1;
        state.random
    }
}

impl Transport for Cloud {
    fn send(&self, request: &HttpRequest, _: Duration) -> Result<HttpResponse, TransportError> {
        let mut state = self.state();
        let lost = |maybe_executed| TransportError {
            maybe_executed,
            permanent: false,
            message: "the connection broke".to_owned(),
        };
        let number = state.requests;
        state.requests += 1;
        let fault = state.fault.filter(|(at, _)| *at == number).map(|f| f.1);
        if fault == Some(Fault::Unsent) {
            return Err(lost(false));
        }
        let (status, body) = state.serve(request);
        if fault == Some(Fault::Lost) {
            return Err(lost(true));
        }
        Ok(HttpResponse {
            status,
            headers: Vec::new(),
            body: body.into_bytes(),
        })
    }
}

type Served = Result<String, (u16, &'static str, String)>;

impl State {
    fn serve(&mut self, request: &HttpRequest) -> (u16, String) {
        let path = request.url.strip_prefix("http://cloud.test").unwrap();
        let fields = form(&request.body);
        let Some(action) = fields.get("Action").cloned() else {
            return self.serve_rest(request, path);
        };
        self.calls.push(action.clone());
        match self.act(&action, &fields) {
            Ok(inner) => (
                200,
                format!("<{action}Response>{inner}<R><Id>1</Id></R></{action}Response>"),
            ),
            Err((status, code, message)) => {
                let error =
                    format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>");
                let body = match fields["Version"].as_str() {
                    "2016-11-15" => format!("<Response><Errors>{error}</Errors></Response>"),
                    _ => format!("<ErrorResponse>{error}</ErrorResponse>"),
                };
                (status, body)
            }
        }
    }

    fn serve_rest(&mut self, request: &HttpRequest, path: &str) -> (u16, String) {
        if path.starts_with("/schedules") {
            self.calls.push("ListSchedules".to_owned());
            let list: Vec<_> = self
                .schedules
                .iter()
                .map(|n| format!("{{\"Name\":\"{n}\"}}"))
                .collect();
            return (200, format!("{{\"Schedules\":[{}]}}", list.join(",")));
        }
        assert_eq!(request.method, Method::Put, "{path}");
        self.calls.push("Put".to_owned());
        self.objects.insert(path.to_owned(), request.body.to_vec());
        (200, String::new())
    }

    fn act(&mut self, action: &str, f: &Fields) -> Served {
        let group = f.get("AutoScalingGroupName").cloned().unwrap_or_default();
        let no_group = || {
            (
                400,
                "ValidationError",
                "AutoScalingGroup name not found".to_owned(),
            )
        };
        match action {
            "CreateLaunchTemplate" => self.create_template(f),
            "DescribeLaunchTemplates" => {
                let found = self.templates.values().filter(|t| {
                    let tags = tags(t, "TagSpecification.1.Tag.");
                    match f["Filter.1.Name"].as_str() {
                        "launch-template-name" => t["LaunchTemplateName"] == f["Filter.1.Value.1"],
                        name => tags.get(&name["tag:".len()..]) == f.get("Filter.1.Value.1"),
                    }
                });
                let items: String = found.map(template_xml).collect();
                Ok(format!("<launchTemplates>{items}</launchTemplates>"))
            }
            "DeleteLaunchTemplate" => match self.templates.remove(&f["LaunchTemplateName"]) {
                Some(_) => Ok(String::new()),
                None => Err((
                    400,
                    "InvalidLaunchTemplateName.NotFoundException",
                    "no template".to_owned(),
                )),
            },
            "DescribeInstances" => Ok(self.instances()),
            "CreateAutoScalingGroup" => self.create_group(&group, f),
            "DescribeAutoScalingGroups" => Ok(self.describe_groups(f)),
            "DeleteAutoScalingGroup" => self
                .groups
                .remove(&group)
                .map(|_| String::new())
                .ok_or_else(no_group),
            "PutScheduledUpdateGroupAction" => {
                let found = self.groups.get_mut(&group).ok_or_else(no_group)?;
                found
                    .actions
                    .insert(f["ScheduledActionName"].clone(), f.clone());
                Ok(String::new())
            }
            "DescribeScheduledActions" => {
                let found = self.groups.get(&group).ok_or_else(no_group)?;
                let items: String = found
                    .actions
                    .values()
                    .map(|a| {
                        let part = |name: &str| format!("<{name}>{}</{name}>", a[name]);
                        format!(
                            "<member>{}{}{}{}</member>",
                            part("ScheduledActionName"),
                            part("MinSize"),
                            part("MaxSize"),
                            part("DesiredCapacity")
                        )
                    })
                    .collect();
                Ok(format!(
                    "<DescribeScheduledActionsResult><ScheduledUpdateGroupActions>{items}</ScheduledUpdateGroupActions></DescribeScheduledActionsResult>"
                ))
            }
            "SuspendProcesses" => {
                let found = self.groups.get_mut(&group).ok_or_else(no_group)?;
                found.suspended.push(f["ScalingProcesses.member.1"].clone());
                Ok(String::new())
            }
            "UpdateAutoScalingGroup" => {
                let found = self.groups.get_mut(&group).ok_or_else(no_group)?;
                assert!(!found.actions.is_empty(), "room before a backstop");
                let wanted: u32 = f["DesiredCapacity"].parse().unwrap();
                self.started += wanted.saturating_sub(found.size);
                found.size = wanted;
                found.max = f["MaxSize"].parse().unwrap();
                Ok(String::new())
            }
            _ => self.act_iam(action, f),
        }
    }

    fn create_template(&mut self, f: &Fields) -> Served {
        let name = &f["LaunchTemplateName"];
        if let Some(there) = self.templates.get(name)
            && there["ClientToken"] != f["ClientToken"]
        {
            let code = "InvalidLaunchTemplateName.AlreadyExistsException";
            return Err((400, code, "it is there".to_owned()));
        }
        self.templates.insert(name.clone(), f.clone());
        Ok(format!(
            "<launchTemplate>{}</launchTemplate>",
            inner_template(f)
        ))
    }

    fn create_group(&mut self, name: &str, f: &Fields) -> Served {
        if self.groups.contains_key(name) {
            return Err((400, "AlreadyExists", "it is there".to_owned()));
        }
        let template = &f["MixedInstancesPolicy.LaunchTemplate.LaunchTemplateSpecification.LaunchTemplateName"];
        let Some(template) = self.templates.get(template) else {
            return Err((400, "ValidationError", "no such template".to_owned()));
        };
        let profile = &template["LaunchTemplateData.IamInstanceProfile.Name"];
        if !self.profiles.get(profile).is_some_and(Option::is_some) {
            let message = "Invalid IAM Instance Profile name".to_owned();
            return Err((400, "ValidationError", message));
        }
        let size = |key: &str| f[key].parse().unwrap();
        let group = Group {
            fields: f.clone(),
            size: size("DesiredCapacity"),
            max: size("MaxSize"),
            ..Group::default()
        };
        self.started += group.size;
        self.groups.insert(name.to_owned(), group);
        Ok(String::new())
    }

    fn describe_groups(&self, f: &Fields) -> String {
        let mut out = String::new();
        for (name, group) in &self.groups {
            let asked = f.get("AutoScalingGroupNames.member.1");
            if asked.is_some_and(|asked| asked != name) {
                continue;
            }
            let machines =
                "<member><InstanceId>i-1</InstanceId></member>".repeat(group.size as usize);
            let _ = write!(
                out,
                "<member><AutoScalingGroupName>{name}</AutoScalingGroupName><MinSize>0</MinSize><MaxSize>{}</MaxSize><DesiredCapacity>{}</DesiredCapacity><Instances>{machines}</Instances><Tags>{}</Tags></member>",
                group.max,
                group.size,
                tags_xml(
                    &tags(&group.fields, "Tags.member."),
                    "member",
                    ["Key", "Value"]
                )
            );
        }
        format!(
            "<DescribeAutoScalingGroupsResult><AutoScalingGroups>{out}</AutoScalingGroups></DescribeAutoScalingGroupsResult>"
        )
    }

    /// All of them: it does not look at the filters, and whoever removes things looks again.
    fn instances(&self) -> String {
        let sets: String = self
            .groups
            .values()
            .flat_map(|group| std::iter::repeat_n(group, group.size as usize))
            .map(|group| {
                let tags = tags_xml(&tags(&group.fields, "Tags.member."), "item", ["key", "value"]);
                format!("<item><instancesSet><item><instanceId>i-1</instanceId><instanceState><name>running</name></instanceState><tagSet>{tags}</tagSet></item></instancesSet></item>")
            })
            .collect();
        format!("<reservationSet>{sets}</reservationSet>")
    }

    fn act_iam(&mut self, action: &str, f: &Fields) -> Served {
        let absent = || (404, "NoSuchEntity", "there is none".to_owned());
        let there = || (409, "EntityAlreadyExists", "it is there".to_owned());
        let role = f.get("RoleName").cloned().unwrap_or_default();
        let profile = f.get("InstanceProfileName").cloned().unwrap_or_default();
        let policy = (
            role.clone(),
            f.get("PolicyName").cloned().unwrap_or_default(),
        );
        let inner = match action {
            "CreateRole" => {
                if self.roles.contains_key(&role) {
                    return Err(there());
                }
                self.roles.insert(role.clone(), f.clone());
                role_xml(&self.roles[&role])
            }
            "GetRole" => role_xml(self.roles.get(&role).ok_or_else(absent)?),
            "PutRolePolicy" => {
                self.roles.get(&role).ok_or_else(absent)?;
                self.policies.insert(policy, f["PolicyDocument"].clone());
                String::new()
            }
            "GetRolePolicy" => {
                let text = self.policies.get(&policy).ok_or_else(absent)?;
                format!("<PolicyDocument>{}</PolicyDocument>", encoded(text))
            }
            "AttachRolePolicy" => {
                self.roles.get(&role).ok_or_else(absent)?;
                self.attached.insert((role, f["PolicyArn"].clone()));
                String::new()
            }
            "DetachRolePolicy" => {
                let there = self.attached.remove(&(role, f["PolicyArn"].clone()));
                there.then(String::new).ok_or_else(absent)?
            }
            "ListAttachedRolePolicies" => {
                self.roles.get(&role).ok_or_else(absent)?;
                let of_role = self.attached.iter().filter(|(of, _)| *of == role);
                let members: String = of_role
                    .map(|(_, arn)| format!("<member><PolicyArn>{arn}</PolicyArn></member>"))
                    .collect();
                format!(
                    "<AttachedPolicies>{members}</AttachedPolicies><IsTruncated>false</IsTruncated>"
                )
            }
            "CreateInstanceProfile" => {
                if self.profiles.contains_key(&profile) {
                    return Err(there());
                }
                self.profiles.insert(profile.clone(), None);
                profile_xml(&profile, None)
            }
            "GetInstanceProfile" => {
                let role = self.profiles.get(&profile).ok_or_else(absent)?;
                profile_xml(&profile, role.as_deref())
            }
            "AddRoleToInstanceProfile" => {
                let slot = self.profiles.get_mut(&profile).ok_or_else(absent)?;
                if slot.is_some() {
                    return Err((409, "LimitExceeded", "it is full".to_owned()));
                }
                *slot = Some(role);
                String::new()
            }
            "RemoveRoleFromInstanceProfile" => {
                *self.profiles.get_mut(&profile).ok_or_else(absent)? = None;
                String::new()
            }
            "DeleteInstanceProfile" => {
                self.profiles.remove(&profile).ok_or_else(absent)?;
                String::new()
            }
            "DeleteRolePolicy" => {
                self.policies.remove(&policy).ok_or_else(absent)?;
                String::new()
            }
            "DeleteRole" => {
                let has = |of: &String| *of == role;
                if self.policies.keys().any(|(of, _)| has(of))
                    || self.attached.iter().any(|(of, _)| has(of))
                {
                    return Err((409, "DeleteConflict", "it has policies".to_owned()));
                }
                self.roles.remove(&role).ok_or_else(absent)?;
                String::new()
            }
            other => panic!("the cloud has no {other}"),
        };
        Ok(format!("<{action}Result>{inner}</{action}Result>"))
    }
}

fn role_xml(f: &Fields) -> String {
    format!(
        "<Role><RoleName>{0}</RoleName><Arn>arn:aws:iam::1:role/{0}</Arn><AssumeRolePolicyDocument>{1}</AssumeRolePolicyDocument></Role>",
        f["RoleName"],
        encoded(&f["AssumeRolePolicyDocument"])
    )
}

fn profile_xml(name: &str, role: Option<&str>) -> String {
    let roles = role.map(|r| format!("<member><RoleName>{r}</RoleName><Arn>a</Arn></member>"));
    format!(
        "<InstanceProfile><InstanceProfileName>{name}</InstanceProfileName><Arn>a</Arn><Roles>{}</Roles></InstanceProfile>",
        roles.unwrap_or_default()
    )
}

fn template_xml(f: &Fields) -> String {
    format!("<item>{}</item>", inner_template(f))
}

fn inner_template(f: &Fields) -> String {
    format!(
        "<launchTemplateId>lt-1</launchTemplateId><launchTemplateName>{}</launchTemplateName><tagSet>{}</tagSet>",
        f["LaunchTemplateName"],
        tags_xml(
            &tags(f, "TagSpecification.1.Tag."),
            "item",
            ["key", "value"]
        )
    )
}

/// The tags of a request.
pub fn tags(f: &Fields, prefix: &str) -> Fields {
    (1..)
        .map_while(|n| {
            let key = f.get(&format!("{prefix}{n}.Key"))?;
            Some((key.clone(), f[&format!("{prefix}{n}.Value")].clone()))
        })
        .collect()
}

fn tags_xml(tags: &Fields, item: &str, [key, value]: [&str; 2]) -> String {
    tags.iter()
        .map(|(k, v)| format!("<{item}><{key}>{k}</{key}><{value}>{v}</{value}></{item}>"))
        .collect()
}
