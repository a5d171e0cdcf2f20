//! The variables that a parameter becomes.

/// Names that would change how a task's programs work, or that bash keeps for itself.
const NOT_FOR_PARAMETERS: [&str; 45] = [
    "_",
    "BASH",
    "BASHOPTS",
    "BASHPID",
    "CDPATH",
    "COMP_WORDBREAKS",
    "ENV",
    "EPOCHREALTIME",
    "EPOCHSECONDS",
    "EUID",
    "EXECIGNORE",
    "FUNCNAME",
    "GCONV_PATH",
    "GLIBC_TUNABLES",
    "GLOBIGNORE",
    "GROUPS",
    "HISTCMD",
    "HOME",
    "IFS",
    "LINENO",
    "LOGNAME",
    "NODE_OPTIONS",
    "OLDPWD",
    "OPTARG",
    "OPTERR",
    "OPTIND",
    "PATH",
    "PERL5LIB",
    "PERL5OPT",
    "POSIXLY_CORRECT",
    "PPID",
    "PROMPT_COMMAND",
    "PS4",
    "PWD",
    "PYTHONHOME",
    "PYTHONPATH",
    "RANDOM",
    "SECONDS",
    "SHELL",
    "SHELLOPTS",
    "SHLVL",
    "SRANDOM",
    "TMPDIR",
    "UID",
    "USER",
];
/// Beginnings of such names.
const STARTS: [&str; 6] = ["LD_", "BASH_", "AWS_", "TASK_", "JOB_", "SPAWN_"];

/// The variables of one parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Names {
    /// `PARAM_learning_rate`: always there.
    pub param: String,
    /// `LEARNING_RATE`, if a parameter may have that name.
    pub short: Option<String>,
    /// The name it may not have.
    pub withheld: Option<String>,
}

/// The variables of the parameter `key`. What cannot stand in a name becomes `_`.
pub(crate) fn names(key: &str) -> Names {
    let fit = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let fitting: String = key.chars().map(fit).collect();
    let short = fitting.to_ascii_uppercase();
    let free = short.starts_with(|c: char| !c.is_ascii_digit())
        && short.bytes().any(|b| b != b'_')
        && !NOT_FOR_PARAMETERS.contains(&short.as_str())
        && !STARTS.iter().any(|start| short.starts_with(start));
    let (short, withheld) = match free {
        true => (Some(short), None),
        false => (None, Some(short)),
    };
    Names {
        param: format!("PARAM_{fitting}"),
        short,
        withheld,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_has_two_names() {
        for (key, param, short) in [
            ("learning_rate", "PARAM_learning_rate", "LEARNING_RATE"),
            ("batch-size", "PARAM_batch_size", "BATCH_SIZE"),
            ("task_type", "PARAM_task_type", ""),
            ("Lr", "PARAM_Lr", "LR"),
            ("größe", "PARAM_gr__e", "GR__E"),
            ("a b.c", "PARAM_a_b_c", "A_B_C"),
            ("x$(id)", "PARAM_x__id_", "X__ID_"),
        ] {
            let names = names(key);
            assert_eq!(names.param, param);
            match short {
                "" => assert!(names.short.is_none()),
                _ => assert_eq!(names.short.as_deref(), Some(short)),
            }
        }
    }

    #[test]
    fn dangerous_names_are_withheld() {
        for key in [
            "path",
            "PATH",
            "home",
            "ifs",
            "shell",
            "user",
            "pwd",
            "ld_preload",
            "bash_env",
            "bashopts",
            "aws-region",
            "task_array_index",
            "job_id",
            "spawn_home",
            "env",
            "ps4",
            "shellopts",
            "cdpath",
            "globignore",
            "random",
            "srandom",
            "seconds",
            "2d",
            "é",
            "-",
            "pythonpath",
        ] {
            let names = names(key);
            assert_eq!(names.short, None, "{key}");
            assert!(names.withheld.is_some());
        }
        assert_eq!(names("2d").param, "PARAM_2d");
        assert_eq!(names("python").short.as_deref(), Some("PYTHON"));
        assert_eq!(names("lang").short.as_deref(), Some("LANG"));
    }
}
