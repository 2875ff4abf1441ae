use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::failure::Failure;

/// What kind of value a setting takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One value.
    One,
    /// Any number: a repeated flag, a comma-separated variable, an array in the file.
    Many,
    /// On or off.
    Switch,
}

/// Where a value came from; what an error points at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    Flag(&'static str),
    Variable(String),
    File { path: PathBuf, line: usize, key: &'static str },
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(key) => write!(f, "--{key}"),
            Self::Variable(name) => f.write_str(name),
            Self::File { path, line, key } => write!(f, "{}:{line}: {key}", path.display()),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    texts: Vec<String>,
    source: Source,
}

/// The settings as they were given, highest precedence kept: flag, then variable, then file.
#[derive(Debug, Default)]
pub(crate) struct Settings(BTreeMap<&'static str, Entry>);

/// One flag as it was given.
pub(crate) type Flag = (&'static str, Vec<String>);

impl Settings {
    /// Lays the three sources over each other. `known` lists every setting; `variable` reads the
    /// environment; `file` comes with the flag or variable that names it.
    pub(crate) fn load(
        known: &[(&'static str, Kind)],
        flags: Vec<Flag>,
        variable: impl Fn(&str) -> Option<String>,
        file: Option<(&Path, &str)>,
    ) -> Result<Self, Failure> {
        let mut settings = Self::default();
        if let Some((path, source)) = file {
            let text = std::fs::read_to_string(path).map_err(|error| {
                Failure::usage(format!("{source}: {}: {error}", path.display()))
            })?;
            settings.read_file(known, path, &text)?;
        }
        for &(key, kind) in known {
            let name = format!("LAMPYRID_{}", key.replace('-', "_").to_ascii_uppercase());
            let Some(text) = variable(&name).filter(|text| !text.is_empty()) else { continue };
            let texts = match kind {
                Kind::Many => text.split(',').map(|part| part.trim().to_owned()).collect(),
                Kind::One | Kind::Switch => vec![text],
            };
            settings.0.insert(key, Entry { texts, source: Source::Variable(name) });
        }
        for (key, texts) in flags {
            if !texts.is_empty() {
                settings.0.insert(key, Entry { texts, source: Source::Flag(key) });
            }
        }
        Ok(settings)
    }

    fn read_file(
        &mut self,
        known: &[(&'static str, Kind)],
        path: &Path,
        text: &str,
    ) -> Result<(), Failure> {
        let shown = path.display();
        let line_at = |byte: usize| 1 + text.bytes().take(byte).filter(|&b| b == b'\n').count();
        let table = DeTable::parse(text).map_err(|error| {
            let line = error.span().map_or(1, |span| line_at(span.start));
            Failure::usage(format!("{shown}:{line}: {}", error.message()))
        })?;
        for (name, value) in table.get_ref() {
            let line = line_at(name.span().start);
            let wanted = name.get_ref().replace('_', "-");
            let Some(&(key, kind)) = known.iter().find(|(key, _)| *key == wanted) else {
                let name = name.get_ref();
                return Err(Failure::usage(format!("{shown}:{line}: unknown setting `{name}`")));
            };
            let source = Source::File { path: path.to_owned(), line, key };
            let texts = match (value.get_ref(), kind) {
                (DeValue::Array(items), Kind::Many) => items.iter().map(scalar).collect(),
                _ => scalar(value).map(|text| vec![text]),
            };
            let Some(texts) = texts else {
                let wants = match kind {
                    Kind::Many => "a value or a list of values",
                    Kind::One => "one value",
                    Kind::Switch => "true or false",
                };
                return Err(Failure::usage(format!("{source}: it takes {wants}")));
            };
            self.0.insert(key, Entry { texts, source });
        }
        Ok(())
    }

    /// Where a setting came from, if it was given.
    pub(crate) fn source(&self, key: &str) -> Option<&Source> {
        self.0.get(key).map(|entry| &entry.source)
    }

    /// A setting as it was given, and where it came from.
    pub(crate) fn shown(&self, key: &str) -> Option<(String, &Source)> {
        self.0.get(key).map(|entry| (entry.texts.join(", "), &entry.source))
    }

    /// A setting of one value.
    pub(crate) fn one<T: FromStr<Err: fmt::Display>>(
        &self,
        key: &'static str,
    ) -> Result<Option<T>, Failure> {
        let Some(entry) = self.0.get(key) else { return Ok(None) };
        match entry.texts.as_slice() {
            [text] => self.parse(key, text).map(Some),
            _ => Err(self.fault(key, "it takes one value")),
        }
    }

    /// A setting of many values.
    pub(crate) fn many<T: FromStr<Err: fmt::Display>>(
        &self,
        key: &'static str,
    ) -> Result<Vec<T>, Failure> {
        let Some(entry) = self.0.get(key) else { return Ok(Vec::new()) };
        entry.texts.iter().map(|text| self.parse(key, text)).collect()
    }

    /// A switch.
    pub(crate) fn is_on(&self, key: &'static str) -> Result<bool, Failure> {
        let Some(text) = self.one::<String>(key)? else { return Ok(false) };
        match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" => Ok(false),
            _ => Err(self.fault(key, format!("`{text}` is neither true nor false"))),
        }
    }

    /// An error that points at where the setting came from.
    pub(crate) fn fault(&self, key: &'static str, detail: impl fmt::Display) -> Failure {
        match self.source(key) {
            Some(source) => Failure::usage(format!("{source}: {detail}")),
            None => Failure::usage(format!("--{key}: {detail}")),
        }
    }

    fn parse<T: FromStr<Err: fmt::Display>>(
        &self,
        key: &'static str,
        text: &str,
    ) -> Result<T, Failure> {
        text.parse().map_err(|error: T::Err| {
            let shown = error.to_string();
            let quoted = format!("`{text}`");
            let detail = if shown.contains(&quoted) { shown } else { format!("{quoted}: {shown}") };
            self.fault(key, detail)
        })
    }
}

/// The text of a single value in the file; `None` for tables, arrays and dates.
fn scalar(value: &Spanned<DeValue<'_>>) -> Option<String> {
    match value.get_ref() {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::Float(number) => Some(number.to_string()),
        DeValue::Boolean(truth) => Some(truth.to_string()),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const KNOWN: &[(&str, Kind)] =
        &[("name", Kind::One), ("join", Kind::Many), ("open", Kind::Switch), ("count", Kind::One)];

    fn load(
        flags: Vec<Flag>,
        variables: &[(&str, &str)],
        file: Option<&str>,
    ) -> Result<Settings, Failure> {
        let mut place = tempfile::NamedTempFile::new().unwrap();
        place.write_all(file.unwrap_or_default().as_bytes()).unwrap();
        let find = |name: &str| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, text)| (*text).to_owned())
        };
        Settings::load(KNOWN, flags, find, file.map(|_| (place.path(), "--config")))
    }

    fn error(result: Result<impl Sized, Failure>) -> String {
        result.map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn a_flag_beats_a_variable_beats_the_file() {
        let file = Some("name = \"file\"\ncount = 3\njoin = [\"a\", \"b\"]\nopen = true\n");
        let variables = [("LAMPYRID_NAME", "variable"), ("LAMPYRID_COUNT", "4")];
        let flags = vec![("name", vec!["flag".to_owned()]), ("join", vec![])];
        let settings = load(flags, &variables, file).unwrap();
        assert_eq!(settings.one::<String>("name").unwrap().unwrap(), "flag");
        assert_eq!(settings.one::<u8>("count").unwrap(), Some(4));
        assert_eq!(settings.many::<String>("join").unwrap(), ["a", "b"]);
        assert!(settings.is_on("open").unwrap());
    }

    #[test]
    fn a_variable_of_many_is_separated_by_commas() {
        let settings = load(vec![], &[("LAMPYRID_JOIN", "a:1, b:2")], None).unwrap();
        assert_eq!(settings.many::<String>("join").unwrap(), ["a:1", "b:2"]);
    }

    #[test]
    fn an_error_points_at_its_source() {
        let settings = load(vec![("count", vec!["x".to_owned()])], &[], None).unwrap();
        assert!(error(settings.one::<u8>("count")).starts_with("--count: `x`: "));
        let settings = load(vec![], &[("LAMPYRID_OPEN", "maybe")], None).unwrap();
        assert!(error(settings.is_on("open")).starts_with("LAMPYRID_OPEN: `maybe`"));
        let settings = load(vec![], &[], Some("\n\ncount = \"x\"\n")).unwrap();
        assert!(error(settings.one::<u8>("count")).contains(":3: count: `x`: "));
    }

    #[test]
    fn a_bad_file_is_named_with_its_line() {
        assert!(error(load(vec![], &[], Some("name = 'a'\nnmae = 'b'\n"))).contains(":2: unknown"));
        assert!(error(load(vec![], &[], Some("name = 'a'\n= 5\n"))).contains(":2: "));
        assert!(
            error(load(vec![], &[], Some("name = ['a']\n"))).contains(":1: name: it takes one")
        );
        let path = Path::new("/nonexistent/lampyrid.toml");
        let missing = Settings::load(KNOWN, vec![], |_| None, Some((path, "--config")));
        assert!(error(missing).starts_with("--config: /nonexistent/lampyrid.toml: "));
    }
}
