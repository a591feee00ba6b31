"""An ImagePolicyWebhook as tutorials have it: Flask, and a look at the tags. No signatures, no cache, no limits."""
import sys

from flask import Flask, jsonify, request

app = Flask(__name__)


@app.route("/v1/imagereview", methods=["POST"])
def review():
    spec = request.get_json()["spec"]
    denied = [c["image"] for c in spec["containers"] if ":" not in c["image"] or c["image"].endswith(":latest")]
    status = {"allowed": not denied}
    if denied:
        status["reason"] = "latest is not allowed: " + ", ".join(denied)
    return jsonify({"apiVersion": "imagepolicy.k8s.io/v1alpha1", "kind": "ImageReview", "status": status})


if __name__ == "__main__":
    host, port, cert, key = sys.argv[1:]
    app.run(host=host, port=int(port), ssl_context=(cert, key))
