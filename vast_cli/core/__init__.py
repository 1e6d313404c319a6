"""Foundation of the package: errors, files, locks, time, devices, progress. Imports no other part of it."""
