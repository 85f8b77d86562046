//! Settings: arguments over environment over defaults. The only file that reads the environment.
