"""What someone who ships an image owes and should know: licences, sources, SBOM, open issues."""
