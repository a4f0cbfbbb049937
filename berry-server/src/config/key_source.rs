//! Where a provider's key comes from when it is not in the file and changes from time to time.

use std::{
    io::Read,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use secrecy::SecretString;
use tokio::time::Instant;

use super::source;

/// How long a command may take.
const TIME_LIMIT: Duration = Duration::from_secs(30);

/// How often a command is asked whether it has ended.
const POLL: Duration = Duration::from_millis(10);

/// Where a key comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum KeyOrigin {
    /// The output of a program.
    Command(Vec<String>),
    /// The text of a file.
    File(PathBuf),
}

/// Where a key comes from, and how long it is valid.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeySource {
    /// Where the key comes from.
    pub origin: KeyOrigin,
    /// The number of seconds for which a key is valid; it is replaced before they are over.
    pub ttl_seconds: u64,
}

impl KeySource {
    /// Gets the key. It blocks, up to half a minute.
    ///
    /// # Errors
    /// Why there is no key, without the command's arguments and output, which may hold secrets.
    pub fn fetch(&self) -> Result<SecretString, String> {
        let key = match &self.origin {
            KeyOrigin::Command(command) => run(command)?,
            KeyOrigin::File(path) => {
                source::read_secret(path).map_err(|error| format!("api_key_file {}: {error}", path.display()))?
            }
        };
        if key.is_empty() || key.contains(|c: char| c.is_whitespace() || c.is_control() || !c.is_ascii()) {
            return Err("the key must be plain ASCII without spaces or line breaks, and not empty".to_owned());
        }
        Ok(key.into())
    }

    /// Returns the name of the key in the file and what is wrong when there can be no key yet, without running a program.
    pub(super) fn missing(&self) -> Option<(&'static str, String)> {
        match &self.origin {
            KeyOrigin::Command(command) => {
                let program = command.first().filter(|program| !is_program(program))?;
                Some(("api_key_command", format!("no program `{program}` is found; install it or correct its path")))
            }
            KeyOrigin::File(path) => {
                let error = source::read_secret(path).err()?;
                Some(("api_key_file", format!("cannot be read ({error}); create the file or correct the path")))
            }
        }
    }
}

/// Returns whether a program can be found as it is when it is started.
fn is_program(name: &str) -> bool {
    if name.contains('/') {
        return Path::new(name).is_file();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
}

/// Runs a program without a shell and returns its output without white space at the ends.
fn run(command: &[String]) -> Result<String, String> {
    let (program, arguments) = command.split_first().ok_or("api_key_command is empty")?;
    let failed = |why: &str| format!("api_key_command `{program}` {why}");
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| failed(&format!("cannot be started: {error}")))?;
    let output = child.stdout.take();
    // Read beside the wait, so that a program with much to say does not wait for its reader.
    let reader = thread::spawn(move || {
        let mut text = Vec::new();
        let read = output.map(|output| output.take(source::MAX_SECRET + 1).read_to_end(&mut text));
        (read, text)
    });
    let deadline = Instant::now() + TIME_LIMIT;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < deadline => thread::sleep(POLL),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(failed(&format!("has not ended within {} s", TIME_LIMIT.as_secs())));
            }
        }
    };
    if !status.success() {
        return Err(failed(&format!("has failed ({status}); run it by hand to see why")));
    }
    let (_, text) = reader.join().map_err(|_| failed("has ended without an output"))?;
    if text.len() as u64 > source::MAX_SECRET {
        return Err(failed("has written more than a key"));
    }
    let text = String::from_utf8(text).map_err(|_| failed("has written no text"))?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    fn fetch(command: &[&str]) -> Result<String, String> {
        let origin = KeyOrigin::Command(command.iter().map(|part| (*part).to_owned()).collect());
        KeySource { origin, ttl_seconds: 60 }.fetch().map(|key| key.expose_secret().to_owned())
    }

    #[test]
    fn takes_the_output_of_a_command_as_the_key() {
        assert_eq!(fetch(&["printf", " ya29.token\n"]).unwrap(), "ya29.token");
        for command in [&["false"][..], &["printf", ""], &["printf", "two words"], &["/no/such/program", "sk-secret"]] {
            let error = fetch(command).unwrap_err();
            assert!(!error.contains("sk-secret") && !error.contains("two words"), "{error}");
        }
    }

    #[test]
    fn tells_beforehand_that_there_can_be_no_key() {
        let source = |origin| KeySource { origin, ttl_seconds: 60 };
        let command = |name: &str| source(KeyOrigin::Command(vec![name.to_owned(), "sk-secret".to_owned()]));
        for present in ["sh", "/bin/sh"] {
            assert_eq!(command(present).missing(), None, "{present}");
        }
        for absent in ["no-such-program", "/no/such/program"] {
            let (key, message) = command(absent).missing().unwrap();
            assert_eq!((key, message.contains("sk-secret")), ("api_key_command", false), "{message}");
            assert!(message.contains(&format!("no program `{absent}` is found")), "{message}");
        }
        let (key, message) = source(KeyOrigin::File("/no/such/key".into())).missing().unwrap();
        assert_eq!(key, "api_key_file");
        assert!(message.contains("cannot be read (No such file"), "{message}");
    }

    #[test]
    fn takes_the_text_of_a_file_as_the_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, "sk-1\n").unwrap();
        let source = KeySource { origin: KeyOrigin::File(path.clone()), ttl_seconds: 60 };
        assert_eq!(source.fetch().unwrap().expose_secret(), "sk-1");
        std::fs::remove_file(path).unwrap();
        assert!(source.fetch().is_err());
    }
}
