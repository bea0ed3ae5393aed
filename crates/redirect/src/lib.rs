//! The packet rules a captured pod needs, as text, and their application.
