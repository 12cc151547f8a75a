"""What Label Studio and people call over HTTP; how masks are written as regions is `regions`."""
