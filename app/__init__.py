"""The Gradio app. It shows what eesd_core says; it computes nothing of its own."""
