"""stub"""
IMAGES=()
