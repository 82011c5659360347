"""What an image file's own pixels need before they are RGB: turning, scaling, a ground, a frame."""
