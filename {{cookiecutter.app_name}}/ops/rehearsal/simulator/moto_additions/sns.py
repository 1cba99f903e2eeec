"""SNS: subscriptions that have to be confirmed, and deliveries to the internet's stand-in."""

import json
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import requests
from moto.core.responses import ActionResult
from moto.moto_api._internal import mock_random
from moto.sns.exceptions import SNSInvalidParameter
from moto.sns.models import SNSBackend, Subscription
from moto.sns.responses import SNSResponse

from ops.rehearsal.simulator.moto_additions.gaps import adds, gap, wraps

if TYPE_CHECKING:
    from ops.rehearsal.simulator.world import World

PROTOCOLS = ("http", "https", "email", "email-json")


def install(world: "World") -> None:
    """Send confirmations and messages to the world's receiver, whatever host they are for."""

    def post(subscription: Subscription, kind: str, body: dict[str, Any]) -> None:
        url = urlsplit(subscription.endpoint)
        path = url.path + (f"?{url.query}" if url.query else "") if url.scheme else "/"
        try:
            requests.post(
                world.receiver + path,
                data=json.dumps(body),
                headers={
                    "Content-Type": "text/plain; charset=UTF-8",
                    "Host": url.netloc or subscription.endpoint.partition("@")[2],
                    "x-amz-sns-message-type": kind,
                    "x-amz-sns-topic-arn": subscription.topic.arn,
                },
                timeout=10,
            ).raise_for_status()
        except requests.RequestException as error:
            world.delivery(subscription.topic.arn, f"not delivered to {subscription.endpoint}: {error}")
        else:
            world.delivery(subscription.topic.arn, f"{kind} delivered to {subscription.endpoint}")

    @gap(
        "aws_sns_topic_subscription",
        "a subscription is born confirmed; AWS posts SubscriptionConfirmation and waits for an answer",
    )
    @wraps(SNSBackend, "subscribe")
    def subscribe(original: Any, backend: SNSBackend, topic_arn: str, endpoint: str, protocol: str) -> Subscription:
        subscription: Subscription = original(backend, topic_arn, endpoint, protocol)
        if protocol not in PROTOCOLS or "token" in subscription.__dict__:
            return subscription
        token = subscription.__dict__["token"] = mock_random.get_random_hex(64)
        # The provider compares these with lower-case texts, which is what AWS sends.
        subscription.attributes |= {
            "PendingConfirmation": "true",
            "ConfirmationWasAuthenticated": "false",
        }
        query = {"Action": "ConfirmSubscription", "TopicArn": topic_arn, "Token": token}
        body = {
            "Type": "SubscriptionConfirmation",
            "MessageId": str(mock_random.uuid4()),
            "Token": token,
            "TopicArn": topic_arn,
            "Message": f"You have chosen to subscribe to the topic {topic_arn}.\n"
            "To confirm the subscription, visit the SubscribeURL included in this message.",
            "SubscribeURL": f"{world.endpoint}/?{urlencode(query)}",
        }
        threading.Thread(target=post, args=(subscription, "SubscriptionConfirmation", body), daemon=True).start()
        return subscription

    @adds(SNSResponse)
    def confirm_subscription(self: SNSResponse) -> ActionResult:
        topic, token = self._get_param("TopicArn"), self._get_param("Token")
        for subscription in self.backend.subscriptions.values():
            if subscription.topic.arn == topic and subscription.__dict__.get("token") == token:
                subscription.attributes["PendingConfirmation"] = "false"
                return ActionResult({"SubscriptionArn": subscription.arn})
        raise SNSInvalidParameter("Invalid parameter: Token")

    @gap(
        "aws_sns_topic_subscription",
        "e-mail is not delivered, and unconfirmed receivers get messages",
    )
    @wraps(Subscription, "publish")
    def publish(
        original: Any,
        subscription: Subscription,
        message: str,
        message_id: str,
        subject: str | None = None,
        **more: Any,
    ) -> None:
        if subscription.protocol not in PROTOCOLS:
            original(subscription, message, message_id, subject=subject, **more)
        elif subscription._filter_policy_matcher is not None and not subscription._filter_policy_matcher.matches(
            more.get("message_attributes"), message
        ):
            world.delivery(subscription.topic.arn, f"filtered out for {subscription.endpoint} by its policy")
        elif subscription.attributes["PendingConfirmation"] == "true":
            world.delivery(
                subscription.topic.arn,
                f"{subscription.endpoint} has not confirmed its subscription",
            )
        else:
            body = subscription.get_post_data(message, message_id, subject)
            threading.Thread(target=post, args=(subscription, "Notification", body), daemon=True).start()
