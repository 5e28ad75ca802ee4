"""Where jobs run: processes of their own, several processes a job, devices, locks between processes."""
