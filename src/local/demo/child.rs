//! The demo's child for machines without Python: counts nothing, answers everything, checkpoints each batch.

use std::io::{BufRead, Write};

use serde_json::{Value, json};

/// Speaks the child's side of the protocol on `input` and `output` until the input ends.
///
/// # Errors
/// A pipe broke.
pub fn speak(input: impl BufRead, mut output: impl Write) -> std::io::Result<()> {
    let mut checkpointing = None;
    for line in input.lines() {
        let Ok(message) = serde_json::from_str::<Value>(&line?) else { continue };
        let Some(action) = message.get("action").and_then(Value::as_str).map(str::to_owned) else { continue };
        let answer = match action.as_str() {
            "processRecords" | "shardEnded" | "shutdownRequested" => {
                checkpointing = Some(action);
                json!({"action": "checkpoint", "sequenceNumber": null, "subSequenceNumber": null})
            }
            "checkpoint" => match checkpointing.take() {
                Some(asked_during) => json!({"action": "status", "responseFor": asked_during}),
                None => continue,
            },
            other => json!({"action": "status", "responseFor": other}),
        };
        writeln!(output, "{answer}")?;
        output.flush()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_is_answered_after_its_checkpoint() {
        let input = concat!(
            r#"{"action":"initialize","shardId":"s","sequenceNumber":"LATEST","subSequenceNumber":0}"#,
            "\n",
            r#"{"action":"processRecords","records":[],"millisBehindLatest":0}"#,
            "\n",
            r#"{"action":"checkpoint","sequenceNumber":null,"subSequenceNumber":null,"error":null}"#,
            "\n",
            r#"{"action":"leaseLost"}"#,
            "\n",
        );
        let mut output = Vec::new();
        speak(input.as_bytes(), &mut output).unwrap();
        let said: Vec<Value> = output.split(|b| *b == b'\n').filter_map(|l| serde_json::from_slice(l).ok()).collect();
        let words: Vec<_> = said.iter().map(|m| m["responseFor"].as_str().unwrap_or("checkpoint")).collect();
        assert_eq!(words, ["initialize", "checkpoint", "processRecords", "leaseLost"]);
    }
}
