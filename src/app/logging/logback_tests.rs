//! logback.xml files as users have them.

use super::format::Format;
use super::logback::parse;
use super::output::{Output, Rolling};
use super::pattern::Pattern;
use super::setup::Setup;

fn read(text: &str) -> (Setup, Vec<String>) {
    let lookup = |name: &str| (name == "LOG_HOME").then(|| "/var/log".to_owned());
    parse(text, &lookup).unwrap()
}

fn pattern(text: &str) -> Format {
    Format::Pattern(Pattern::parse(text).0)
}

#[test]
fn the_usual_file_is_read_without_a_warning() {
    let (setup, warnings) = read(
        r#"<?xml version="1.0" encoding="UTF-8"?>
        <!DOCTYPE configuration>
        <configuration scan="true" debug="false">
          <statusListener class="ch.qos.logback.core.status.NopStatusListener"/>
          <property name="FORM" value="%d{HH:mm:ss.SSS} [%thread] %-5level %logger{36} - %msg%n"/>
          <appender name="CONSOLE" class="ch.qos.logback.core.ConsoleAppender">
            <target>System.err</target>
            <encoder><pattern>${FORM}</pattern><charset>UTF-8</charset></encoder>
          </appender>
          <logger name="software.amazon.kinesis" level="warn"/>
          <root level="ERROR"><appender-ref ref="CONSOLE"/></root>
        </configuration>"#,
    );
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!(setup.appenders.len(), 1);
    assert_eq!(setup.appenders[0].output, Output::Error);
    assert_eq!(setup.appenders[0].format, pattern("%d{HH:mm:ss.SSS} [%thread] %-5level %logger{36} - %msg%n"));
    assert_eq!(setup.routes.root, [0]);
    assert_eq!(setup.levels.loudest(), tracing::level_filters::LevelFilter::WARN);
}

#[test]
fn files_roll_as_the_policies_say() {
    let rolling = |inside: &str| {
        let (setup, warnings) = read(&format!(
            r#"<configuration><appender name="F" class="ch.qos.logback.core.rolling.RollingFileAppender">{inside}
            <encoder><pattern>%m%n</pattern></encoder></appender><root><appender-ref ref="F"/></root></configuration>"#
        ));
        match &setup.appenders[0].output {
            Output::Rolling(rolling) => (rolling.clone(), warnings),
            Output::Out | Output::Error | Output::File { .. } => panic!("it does not roll"),
        }
    };
    let (by_day, warnings) = rolling(
        r#"<file>${LOG_HOME:-logs}/kcl.log</file>
        <rollingPolicy class="ch.qos.logback.core.rolling.SizeAndTimeBasedRollingPolicy">
          <fileNamePattern>${LOG_HOME}/kcl.%d{yyyy-MM-dd}.%i.log.gz</fileNamePattern>
          <maxFileSize>10MB</maxFileSize><maxHistory>7</maxHistory><totalSizeCap>1GB</totalSizeCap>
        </rollingPolicy>"#,
    );
    let wanted = Rolling {
        file: Some("/var/log/kcl.log".into()),
        pattern: "/var/log/kcl.%d{yyyy-MM-dd}.%i.log".to_owned(),
        max_bytes: Some(10 << 20),
        max_history: Some(7),
    };
    assert_eq!(by_day, wanted);
    assert_eq!(warnings.len(), 1, "not compressed: {warnings:?}");
    let (by_size, _) = rolling(
        r#"<file>${HERE:-${THERE:-x}}.log</file>
        <rollingPolicy class="FixedWindowRollingPolicy"><fileNamePattern>x.%i.log</fileNamePattern>
        <minIndex>1</minIndex><maxIndex>3</maxIndex></rollingPolicy>
        <triggeringPolicy class="SizeBasedTriggeringPolicy"><maxFileSize>5 kb</maxFileSize></triggeringPolicy>"#,
    );
    assert_eq!((by_size.file, by_size.max_bytes), (Some("x.log".into()), Some(5 << 10)));
}

#[test]
fn what_is_not_understood_is_one_warning_each_and_never_fatal() {
    let (setup, warnings) = read(
        r#"<configuration>
          <include file="more.xml"/><include file="evenmore.xml"/><if condition="x"/>
          <property resource="x"/>
          <appender name="MAIL" class="ch.qos.logback.classic.net.SMTPAppender"/>
          <appender name="C" class="ch.qos.logback.core.ConsoleAppender">
            <filter class="ch.qos.logback.classic.filter.ThresholdFilter"><level>WARN</level></filter>
            <filter class="org.example.Mine"/>
            <encoder><pattern>%m %relative%n</pattern></encoder>
          </appender>
          <appender name="A" class="ch.qos.logback.classic.AsyncAppender"><appender-ref ref="C"/></appender>
          <root level="LOUD"><appender-ref ref="A"/><appender-ref ref="MAIL"/></root>
        </configuration>"#,
    );
    for part in
        ["<include>", "<if>", "SMTPAppender", "org.example.Mine", "%relative", "LOUD", "ref=\"MAIL\"", "<property>"]
    {
        assert_eq!(warnings.iter().filter(|warning| warning.contains(part)).count(), 1, "{part}: {warnings:?}");
    }
    assert_eq!(warnings.len(), 8);
    assert_eq!(setup.routes.root, [1]);
    assert!(setup.appenders[1].least.is_some());
}

#[test]
fn broken_xml_is_an_error() {
    let nothing = |_: &str| None;
    assert!(parse("<configuration><root", &nothing).is_err());
    assert!(parse("", &nothing).is_err());
}

#[test]
fn a_property_that_names_itself_ends() {
    let (setup, _) = read(
        r#"<configuration><property name="A" value="${B}"/><property name="B" value="${A}"/>
        <appender name="F" class="FileAppender"><file>${A}${undefined}${open</file></appender></configuration>"#,
    );
    assert!(matches!(setup.appenders[0].output, Output::File { .. }));
}
