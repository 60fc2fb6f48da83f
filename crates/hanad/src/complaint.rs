/// A trouble that lasts is said when it begins and when it changes, not each time it is met.
#[derive(Debug, Default)]
pub(crate) struct Complaint(Option<String>);

impl Complaint {
    /// Whether `problem` is news: it was not the last thing said.
    pub(crate) fn is_news(&mut self, problem: &impl ToString) -> bool {
        let problem = Some(problem.to_string());
        let is_news = self.0 != problem;
        self.0 = problem;
        is_news
    }

    /// The trouble is over; returns whether there was one.
    pub(crate) fn is_over(&mut self) -> bool {
        self.0.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_is_said_once_and_again_when_it_has_been_over() {
        let mut complaint = Complaint::default();
        assert!(complaint.is_news(&"full"));
        assert!(!complaint.is_news(&"full"));
        assert!(complaint.is_news(&"read-only"));
        assert!(complaint.is_over());
        assert!(!complaint.is_over());
        assert!(complaint.is_news(&"read-only"));
    }
}
