//! The chain against files in temporary homes and services on the loopback interface.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::client::{Config, FakeClock, HttpTransport, Overrides, Patience};
use crate::environment::Environment;
use crate::loopback::{instance, metadata, serve};

struct Home {
    dir: tempfile::TempDir,
    vars: Vec<(String, String)>,
}

impl Home {
    /// A home without metadata services.
    fn new(config: &str, credentials: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let aws = dir.path().join(".aws");
        std::fs::create_dir(&aws).unwrap();
        std::fs::write(aws.join("config"), config).unwrap();
        std::fs::write(aws.join("credentials"), credentials).unwrap();
        let home = dir.path().to_str().unwrap().to_owned();
        let path = std::env::var("PATH").unwrap_or_default();
        Self { dir, vars: vec![] }
            .with("HOME", &home)
            .with("PATH", &path)
            .with("AWS_EC2_METADATA_DISABLED", "true")
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.vars.retain(|(n, _)| n != name);
        self.vars.push((name.to_owned(), value.to_owned()));
        self
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn find(&self, profile: Option<&str>, sts: &str) -> Result<Credentials, CredentialsError> {
        let environment = Environment::of(self.vars.clone());
        let config = Config {
            region: "eu-west-1".to_owned(),
            credentials: Arc::new(NoCredentials),
            endpoints: Overrides::everything_at(sts),
            transport: Arc::new(HttpTransport::for_metadata()),
            clock: Arc::new(FakeClock::at(
                UNIX_EPOCH + Duration::from_secs(1_795_608_000),
            )),
            patience: Patience::default(),
        };
        let profiles = Profiles::load(&environment, profile)?;
        Chain::new(&environment, profiles, profile.is_some(), &config).fetch()
    }

    fn id(&self, profile: Option<&str>) -> String {
        match self.find(profile, "http://127.0.0.1:9") {
            Ok(found) => found.access_key_id,
            Err(error) => format!("error: {error}"),
        }
    }
}

const KEYS: &str = "[default]\naws_access_key_id = FILE\naws_secret_access_key = s\n\
                    [other]\naws_access_key_id = OTHER\naws_secret_access_key = s\naws_session_token = t\n";

#[test]
fn the_environment_comes_before_files_and_a_named_profile_before_both() {
    let home = Home::new("", KEYS);
    assert_eq!(home.id(None), "FILE");
    assert_eq!(home.id(Some("other")), "OTHER");
    let home = home.with("AWS_PROFILE", "other");
    assert_eq!(home.id(None), "OTHER");
    let home = home
        .with("AWS_ACCESS_KEY_ID", "ENV")
        .with("AWS_SECRET_ACCESS_KEY", "s");
    assert_eq!(home.id(None), "ENV");
    assert_eq!(home.id(Some("default")), "FILE");
    let home = home.with("AWS_SECRET_ACCESS_KEY", "");
    assert_eq!(
        home.id(None),
        "error: `AWS_ACCESS_KEY_ID` is set, but `AWS_SECRET_ACCESS_KEY` is not"
    );
}

#[test]
fn files_can_be_elsewhere() {
    let home = Home::new("", "");
    let file = home.path().join("keys");
    std::fs::write(&file, KEYS).unwrap();
    let home = home.with("AWS_SHARED_CREDENTIALS_FILE", "~/keys");
    assert_eq!(home.id(None), "FILE");
}

#[test]
fn nothing_anywhere_says_where_was_looked() {
    let home = Home::new("", "");
    let said = home.id(None);
    assert!(
        said.contains("profile `default`") && said.contains("AWS_ACCESS_KEY_ID"),
        "{said}"
    );
    assert_eq!(
        home.id(Some("gone")),
        "error: AWS profile `gone`: it is in neither of the AWS files"
    );
}

#[test]
fn a_process_prints_credentials() {
    let json = r#"{"Version":1,"AccessKeyId":"PROC","SecretAccessKey":"SECRETVALUE","SessionToken":"t","Expiration":"2026-11-25T13:00:00Z"}"#;
    let home = Home::new(
        &format!(
            "[default]\ncredential_process = printf '%s' '{json}'\n[profile bad]\ncredential_process = echo SECRETVALUE; exit 3\n[profile odd]\ncredential_process = echo SECRETVALUE\n"
        ),
        "",
    );
    let found = home.find(None, "http://x").unwrap();
    assert_eq!(found.access_key_id, "PROC");
    assert_eq!(
        found.expires,
        Some(UNIX_EPOCH + Duration::from_secs(1_795_611_600))
    );
    for profile in ["bad", "odd"] {
        let said = home.id(Some(profile));
        assert!(
            said.contains("credential_process") && !said.contains("SECRETVALUE"),
            "{said}"
        );
    }
}

fn fake_aws(home: &Home, script: &str) -> String {
    let bin = home.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    let aws = bin.join("aws");
    std::fs::write(&aws, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&aws, std::fs::Permissions::from_mode(0o755)).unwrap();
    bin.to_str().unwrap().to_owned()
}

#[test]
fn single_sign_on_and_mfa_are_left_to_the_cli() {
    let config = "[sso-session corp]\nsso_start_url = https://x\n[profile sso]\nsso_session = corp\n\
                  [profile mfa]\nrole_arn = r\nsource_profile = sso\nmfa_serial = m\n";
    let home = Home::new(config, "");
    let bin = fake_aws(
        &home,
        r#"[ "$*" = "configure export-credentials --format process --profile sso" ] || { echo >&2; echo "Token has expired: $*" >&2; exit 255; }
           echo '{"Version":1,"AccessKeyId":"SSO","SecretAccessKey":"s"}'"#,
    );
    let home = home.with("PATH", &format!("{bin}:/bin:/usr/bin"));
    assert_eq!(home.id(Some("sso")), "SSO");
    let said = home.id(Some("mfa"));
    assert!(
        said.contains("MFA") && said.contains("Token has expired"),
        "{said}"
    );

    let said = home.with("PATH", "/nowhere").id(Some("sso"));
    assert!(said.contains("needs the AWS CLI version 2"), "{said}");
}

#[test]
fn roles_are_assumed_through_profiles() {
    let sts = serve(|asked| {
        let key = asked.header("authorization").unwrap_or_default();
        let by = key.split(['=', '/']).nth(1).unwrap_or_default();
        let result = format!(
            "<R><AssumeRoleResult><Credentials><AccessKeyId>ASIA{by}</AccessKeyId><SecretAccessKey>s</SecretAccessKey>\
             <SessionToken>t</SessionToken><Expiration>2026-11-25T13:00:00Z</Expiration></Credentials></AssumeRoleResult></R>"
        );
        (200, vec![], result)
    });
    let config = "[profile role]\nrole_arn = arn:aws:iam::1:role/r\nsource_profile = base\nexternal_id = ex\nduration_seconds = 900\nrole_session_name = me\n\
        [profile base]\n\
        [profile chained]\nrole_arn = arn:aws:iam::1:role/r2\nsource_profile = role\n\
        [profile self]\nrole_arn = r\nsource_profile = self\n\
        [profile a]\nrole_arn = r\nsource_profile = b\n[profile b]\nrole_arn = r\nsource_profile = a\n\
        [profile env]\nrole_arn = r\ncredential_source = Environment\n\
        [profile nosource]\nrole_arn = r\n[profile missing]\nrole_arn = r\nsource_profile = gone\n";
    let keys = "[base]\naws_access_key_id = BASE\naws_secret_access_key = s\n[self]\naws_access_key_id = SELF\naws_secret_access_key = s\n";
    let home = Home::new(config, keys);
    let find = |profile| home.find(Some(profile), &sts.url).map(|c| c.access_key_id);
    assert_eq!(find("role").unwrap(), "ASIABASE");
    let body = sts.asked.lock().unwrap()[0].body.clone();
    for part in [
        "Action=AssumeRole&",
        "ExternalId=ex",
        "DurationSeconds=900",
        "RoleSessionName=me",
    ] {
        assert!(body.contains(part), "{body}");
    }
    assert_eq!(find("chained").unwrap(), "ASIAASIABASE");
    assert_eq!(find("self").unwrap(), "ASIASELF");
    for (profile, words) in [
        ("a", "circle"),
        ("env", "has none"),
        ("nosource", "needs either"),
        ("missing", "does not exist"),
    ] {
        let said = find(profile).unwrap_err().to_string();
        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn containers_hand_out_credentials() {
    let server = serve(|asked| {
        if asked.header("authorization") == Some("Bearer x") {
            let json = r#"{"AccessKeyId":"CONT","SecretAccessKey":"s","Token":"t","Expiration":"2026-11-25T13:00:00Z"}"#;
            (200, vec![], json.to_owned())
        } else {
            (403, vec![], "SECRETVALUE".to_owned())
        }
    });
    let home = Home::new("", "").with(
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        &format!("{}/v1/c", server.url),
    );
    assert_eq!(
        home.id(None),
        "error: the container's credential service: it answered 403"
    );
    let file = home.path().join("token");
    std::fs::write(&file, "Bearer x\n").unwrap();
    let home = home.with(
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
        file.to_str().unwrap(),
    );
    assert_eq!(home.id(None), "CONT");
    assert_eq!(server.asked.lock().unwrap()[1].path, "/v1/c");
}

#[test]
fn instances_hand_out_credentials_of_version_2_only() {
    let on = |url: &str| {
        Home::new("", "")
            .with("AWS_EC2_METADATA_DISABLED", "")
            .with("AWS_EC2_METADATA_SERVICE_ENDPOINT", url)
    };
    let server = metadata(instance(), false);
    assert_eq!(on(&server.url).id(None), "ASIAROLE");
    let old = metadata(instance(), true);
    assert!(
        on(&old.url)
            .id(None)
            .starts_with("error: no AWS credentials were found")
    );
}

#[test]
fn no_secret_in_debug_texts() {
    let credentials = Credentials {
        session_token: Some("TOKENVALUE".into()),
        ..Credentials::fixed("ID", "SECRETVALUE")
    };
    let environment = Environment::of([("AWS_SECRET_ACCESS_KEY", "SECRETVALUE")]);
    for text in [format!("{credentials:?}"), format!("{environment:?}")] {
        assert!(!text.contains("VALUE"), "{text}");
    }
}
