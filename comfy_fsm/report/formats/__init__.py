"""A replay in the forms that other tools show: Markdown for an issue, JUnit for CI."""
