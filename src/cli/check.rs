//! `multilangd check`: what a properties file means here, what is odd about it, and whether AWS lets us.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::{Value as Json, json};

use super::plan::{self, Surroundings};
use super::texts;
use crate::app::permissions::{self, Tried, Verdict, try_all};
use crate::app::{aws::Clients, block_on, logging, one_line};
use crate::child::process::ProcessLauncher;
use crate::config::keys::Honoured;
use crate::config::{Config, Environment, Fault, Loaded, Setting, Stage, Warning, load};

/// Arguments of `multilangd check`.
#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    /// Properties file of the daemon
    #[arg(short, long = "properties-file", value_name = "FILE")]
    pub properties_file: Option<PathBuf>,
    /// Properties file, without -p
    #[arg(value_name = "FILE", conflicts_with = "properties_file")]
    pub file: Option<PathBuf>,
    /// Tries the permissions that are needed, by calls that change nothing
    #[arg(long)]
    pub aws: bool,
    /// How to print
    #[arg(long, value_enum, default_value_t = Form::Text)]
    pub format: Form,
    /// As the daemon's own --strict
    #[arg(long)]
    pub strict: bool,
}

/// Form of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// For people.
    Text,
    /// One object, for machines.
    Json,
}

/// All that was found out.
#[derive(Debug, Default)]
struct Findings {
    file: PathBuf,
    settings: Vec<Setting>,
    warnings: Vec<Warning>,
    faults: Vec<Fault>,
    tried: Vec<Tried>,
}

/// Runs it; exit code 0, or 1 when the daemon would not start.
#[must_use]
pub fn run(args: &CheckArgs) -> i32 {
    logging::start_quietly();
    let Some(file) = args.properties_file.clone().or_else(|| args.file.clone()) else {
        eprintln!("Properties file missing, please provide a properties file: multilangd check -p FILE");
        return 1;
    };
    let around = Surroundings { variable: &|name| std::env::var_os(name), read: &|path| std::fs::read(path) };
    let environment = Environment {
        strict: args.strict,
        system_properties: plan::properties_of_variables(&around),
        ..Environment::from_process()
    };
    let mut findings = Findings { file, ..Findings::default() };
    match load(&findings.file, &environment) {
        Err(error) => (findings.faults, findings.warnings) = (error.faults, error.warnings),
        Ok(Loaded { config, warnings, settings, .. }) => {
            (findings.settings, findings.warnings) = (settings, warnings);
            findings.program(&config);
            if args.aws {
                let _code = block_on(async {
                    Box::pin(findings.aws(&config)).await;
                    0
                });
            }
        }
    }
    super::say(&match args.format {
        Form::Json => format!("{:#}\n", findings.json()),
        Form::Text => findings.text(),
    });
    if args.format == Form::Text {
        for error in findings.errors() {
            eprintln!("{error}");
        }
        if !findings.is_fine() {
            eprintln!("{}", texts::POINTER);
        }
    }
    i32::from(!findings.is_fine())
}

impl Findings {
    fn is_fine(&self) -> bool {
        self.faults.is_empty() && !self.tried.iter().any(Tried::has_failed)
    }

    fn fault(&mut self, key: &str, message: String) {
        let fault = Fault { stage: Stage::Scheduler, key: Some(key.to_owned()), message, java: None };
        self.faults.push(fault);
    }

    /// Whether the child's program is there.
    fn program(&mut self, config: &Config) {
        if let Err(error) = ProcessLauncher::new(config.command.clone()).validate() {
            self.fault("executableName", one_line(&error.into()));
        }
    }

    async fn aws(&mut self, config: &Config) {
        match Box::pin(Clients::new(config)).await {
            Ok(clients) => {
                self.tried = try_all(config, &clients).await;
                let wants = |setting: &Setting| setting.key == "metricsLevel" && setting.value != "NONE";
                self.tried
                    .extend(self.settings.iter().any(wants).then(|| permissions::metrics(&config.application_name)));
            }
            Err(error) => self.fault("AwsCredentialsProvider", one_line(&error)),
        }
    }

    fn errors(&self) -> Vec<String> {
        let failed = self.tried.iter().filter_map(|tried| match &tried.verdict {
            Verdict::Failed(why) => Some(why.clone()),
            Verdict::Allowed | Verdict::Missing(_) | Verdict::NotTried(_) => None,
        });
        self.faults.iter().map(ToString::to_string).chain(failed).collect()
    }

    fn json(&self) -> Json {
        let settings = self.settings.iter().map(|setting| {
            json!({
                "key": setting.key,
                "value": setting.value,
                "origin": setting.origin.kind(),
                "from": setting.origin.name(),
                "effect": effect(setting.honoured),
            })
        });
        let faults = self.faults.iter().map(|fault| {
            let stage = match fault.stage {
                Stage::Load => "load",
                Stage::Resolve => "resolve",
                Stage::Scheduler => "scheduler",
            };
            json!({ "key": fault.key, "stage": stage, "message": fault.to_string() })
        });
        let refused = self.tried.iter().filter_map(|tried| match &tried.verdict {
            Verdict::Failed(why) => Some(json!({ "key": tried.action, "stage": "aws", "message": why })),
            Verdict::Allowed | Verdict::Missing(_) | Verdict::NotTried(_) => None,
        });
        let faults = faults.chain(refused);
        let warnings = self.warnings.iter().map(|w| json!({ "key": w.key, "message": w.to_string() }));
        let tried = self.tried.iter().map(|tried| {
            let (verdict, note) = told(&tried.verdict);
            json!({ "action": tried.action, "resource": tried.resource, "verdict": verdict, "note": note })
        });
        json!({
            "ok": self.is_fine(),
            "file": self.file.display().to_string(),
            "settings": settings.collect::<Vec<_>>(),
            "warnings": warnings.collect::<Vec<_>>(),
            "errors": faults.collect::<Vec<_>>(),
            "aws": tried.collect::<Vec<_>>(),
        })
    }

    fn text(&self) -> String {
        let mut lines = vec![format!("properties file {}", self.file.display())];
        let width = self.settings.iter().map(|setting| setting.key.len()).max().unwrap_or_default();
        for setting in &self.settings {
            let value = match &setting.value {
                Json::Null => "-".to_owned(),
                Json::String(text) => text.clone(),
                other @ (Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_)) => other.to_string(),
            };
            let note = match setting.honoured {
                Honoured::Yes => "",
                Honoured::NotYet => ", not honoured yet",
                Honoured::NoEffectInReference => ", no effect",
            };
            lines.push(format!("{:width$}  {value}  [{}{note}]", setting.key, setting.origin));
        }
        for tried in &self.tried {
            let (verdict, note) = told(&tried.verdict);
            let note = note.map(|note| format!(" ({note})")).unwrap_or_default();
            lines.push(format!("{}  {}  {verdict}{note}", tried.action, tried.resource));
        }
        lines.extend(self.warnings.iter().map(|warning| format!("warning: {warning}")));
        let errors = self.errors().len();
        lines.push(format!("{}, {}", counted(errors, "error"), counted(self.warnings.len(), "warning")));
        lines.join("\n") + "\n"
    }
}

/// `1 error`, `2 errors`.
fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn effect(honoured: Honoured) -> &'static str {
    match honoured {
        Honoured::Yes => "yes",
        Honoured::NotYet => "not yet",
        Honoured::NoEffectInReference => "none",
    }
}

fn told(verdict: &Verdict) -> (&'static str, Option<&str>) {
    match verdict {
        Verdict::Allowed => ("allowed", None),
        Verdict::Missing(note) => ("missing", Some(note)),
        Verdict::NotTried(note) => ("not tried", Some(note)),
        Verdict::Failed(why) => ("failed", Some(why)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_a_kind_is_said_in_the_singular() {
        let mut findings = Findings::default();
        assert!(findings.text().ends_with("\n0 errors, 0 warnings\n"));
        findings.fault("executableName", "gone".to_owned());
        findings.warnings.push(Warning { key: None, message: "odd".to_owned() });
        assert!(findings.text().ends_with("\n1 error, 1 warning\n"));
        findings.fault("streamName", "gone".to_owned());
        assert!(findings.text().ends_with("\n2 errors, 1 warning\n"));
    }
}
