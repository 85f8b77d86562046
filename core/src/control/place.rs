//! Where and how a session was asked for, and what follows from it: who is shown events, whether they leave the machine, and
//! who is told at the end what each probe did. Before both walks: a binding asks as it starts.

use std::borrow::Cow;
use std::path::Path;

use crate::config::{Settings, Show};

/// Where and how a session was asked for.
#[derive(Clone, Copy, Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "facts that have nothing to do with one another")]
pub struct Place {
    /// By the command: somebody looks at standard error.
    pub command: bool,
    /// By the environment, without the command.
    pub preload: bool,
    /// In the process that the command became; false below it.
    pub first: bool,
    /// The user wants no colours (`NO_COLOR`).
    pub no_color: bool,
    /// Events are kept in memory, for tests.
    pub keep: bool,
    /// The process was started without standard error.
    pub mute: bool,
}

impl Place {
    /// True if events are shown to people.
    pub fn shows(self, settings: &Settings, is_terminal: impl FnOnce() -> bool) -> bool {
        if self.mute {
            return false;
        }
        match settings.terminal {
            Show::Always => true,
            Show::Never => false,
            // Somebody sits before the command, also where standard error is no terminal; not twice beside `--json -`.
            Show::Auto if self.command => !settings.ndjson.as_deref().is_some_and(is_stdout),
            Show::Auto => !self.keep && is_terminal(),
        }
    }

    /// True if events are sent to an Agent. Somebody who watches a terminal or a file wants none, unless one was named; one
    /// that nobody named and that is not there is nothing to complain about.
    pub fn uploads(self, settings: &Settings, shows: bool) -> bool {
        let has_local_sink = self.keep || settings.ndjson.is_some() || shows;
        settings.agent_is_named() || !(self.command || has_local_sink)
    }

    /// True if metrics are sent to a server: where events are, and where one was named.
    pub fn sends_metrics(self, settings: &Settings, shows: bool) -> bool {
        settings.dogstatsd_is_named() || self.uploads(settings, shows)
    }

    /// True if people are told at the end what each probe did.
    pub fn tells_end(self, shows: bool) -> bool {
        self.command || (self.preload && shows)
    }
}

/// The working folder: what lies in it is shown to people by its shorter name.
#[derive(Clone, Debug)]
pub struct Folder(String);

impl Folder {
    /// The folder of a path; one that is gone (an empty path) shortens nothing, nor does the root.
    pub fn new(path: &str) -> Folder {
        Folder(if path.len() > 1 { format!("{path}/") } else { String::new() })
    }

    /// A text for people, with the paths in it as short as they can be.
    pub fn short<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if !self.0.is_empty() && text.contains(&self.0) {
            Cow::Owned(text.replace(&self.0, ""))
        } else {
            Cow::Borrowed(text)
        }
    }
}

/// True if events as JSON go to standard output.
pub fn is_stdout(path: &Path) -> bool {
    path.as_os_str() == "-"
}

#[cfg(test)]
mod tests {
    use super::{Folder, Place};
    use crate::config::{Settings, Show};
    use std::path::PathBuf;

    #[test]
    fn paths_below_the_folder_are_short() {
        let short = |folder, text| Folder::new(folder).short(text).into_owned();
        assert_eq!(
            short("/srv/shop", "in /srv/shop/cart.py:3 and /srv/shopping.py"),
            "in cart.py:3 and /srv/shopping.py"
        );
        assert_eq!(short("/", "/cart.py"), "/cart.py");
        assert_eq!(short("", "/cart.py"), "/cart.py");
    }

    #[test]
    fn who_is_shown_events() {
        let (command, program) = (Place { command: true, ..Place::default() }, Place::default());
        let to = |path: &str| Settings { ndjson: Some(PathBuf::from(path)), ..Settings::default() };
        let said = |terminal| Settings { terminal, ..Settings::default() };
        for (place, settings, is_terminal, shows) in [
            (command, Settings::default(), false, true),
            (command, to("-"), true, false),
            (command, to("events.ndjson"), false, true),
            (program, Settings::default(), false, false),
            (program, Settings::default(), true, true),
            (Place { keep: true, ..program }, Settings::default(), true, false),
            (program, said(Show::Always), false, true),
            (command, said(Show::Never), true, false),
            (Place { mute: true, ..command }, said(Show::Always), true, false),
        ] {
            assert_eq!(place.shows(&settings, || is_terminal), shows, "{place:?} {:?}", settings.terminal);
        }
    }

    #[test]
    fn an_agent_is_asked_for_by_name_or_as_the_only_one() {
        let named = Settings { agent_host: Some("agent".to_owned()), ..Settings::default() };
        let (command, program) = (Place { command: true, ..Place::default() }, Place::default());
        assert!(program.uploads(&Settings::default(), false));
        assert!(!program.uploads(&Settings::default(), true));
        assert!(!command.uploads(&Settings::default(), false));
        assert!(command.uploads(&named, true));
        let of_metrics = Settings { dogstatsd_port: Some(1), ..Settings::default() };
        assert!(command.sends_metrics(&of_metrics, true) && !command.uploads(&of_metrics, true));
        assert!(command.sends_metrics(&named, true) && !command.sends_metrics(&Settings::default(), true));
    }

    #[test]
    fn the_end_is_told_where_somebody_looks() {
        let preload = Place { preload: true, ..Place::default() };
        assert!(Place { command: true, ..Place::default() }.tells_end(false));
        assert!(preload.tells_end(true) && !preload.tells_end(false) && !Place::default().tells_end(true));
    }
}
