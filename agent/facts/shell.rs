//! Facts in commands that a person pastes.

/// A word as a POSIX shell takes it for one, whatever is in it.
#[must_use]
pub fn quote(word: &str) -> String {
    if !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+=:@,%".contains(c)) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::quote;

    #[test]
    fn what_a_shell_would_not_take_as_it_stands_is_quoted() {
        assert_eq!(quote("/etc/kubernetes/kubelet.conf"), "/etc/kubernetes/kubelet.conf");
        assert_eq!(quote("a b; rm -rf $HOME"), "'a b; rm -rf $HOME'");
        assert_eq!(quote("it's"), r"'it'\''s'");
        assert_eq!(quote(""), "''");
    }
}
