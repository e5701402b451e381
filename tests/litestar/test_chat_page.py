"""The example's chat page, in a real browser."""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING

import pytest
from selenium.webdriver.common.keys import Keys

from tests.browser import LAPTOP, PHONE, VIEWS, serious_findings, set_scheme, set_width
from tests.litestar import screenshots
from tests.litestar.chat_page import ChatPage
from tests.litestar.example import BOB, SECRET, logged_in, running
from tests.servers import free_port, wait_until
from tests.shares import share_of

if TYPE_CHECKING:
    from pathlib import Path

    import httpx
    from selenium.webdriver import Chrome

# The next answer's events, which the server has sent, pass one by one by next(), or by rest().
STEPS = """
const real = window.fetch;
window.fetch = async (url, options) => {
  const response = await real(url, options);
  if (!url.endsWith("/chat/stream")) return response;
  const blocks = (await response.text()).split(/(?<=\\r\\n\\r\\n)/);
  const encoder = new TextEncoder();
  return new Response(new ReadableStream({ start(controller) {
    window.fetch = real;
    window.next = () => controller.enqueue(encoder.encode(blocks.shift()));
    window.rest = () => { while (blocks.length) window.next(); controller.close(); };
  } }));
};
"""

# The next answer to a message is this one, or is cut off after the server has had the message.
ANSWER = """
const real = window.fetch, [body] = arguments;
window.fetch = async (url, options) => {
  if (!url.endsWith("/chat/stream")) return real(url, options);
  window.fetch = real;
  if (body !== null) return new Response(body);
  await (await real(url, options)).text();
  throw new TypeError("network error");
};
"""

# The next message is refused, as one to a conversation that is busy.
REFUSE = """
const real = window.fetch, [detail] = arguments;
window.fetch = (url, options) => {
  if (!url.endsWith("/chat/stream")) return real(url, options);
  window.fetch = real;
  const headers = { "Content-Type": "application/json", "Retry-After": "1" };
  const body = JSON.stringify({ status_code: 409, detail });
  return Promise.resolve(new Response(body, { status: 409, headers }));
};
"""

# Loading a conversation's messages takes until release().
HOLD = """
const real = window.fetch;
window.fetch = (url, options) => url.includes("/messages")
  ? new Promise((go) => {
      window.release = () => { window.fetch = real; go(real(url, options)); };
    })
  : real(url, options);
"""


def said(client: httpx.Client, session_id: str) -> list[tuple[str, str]]:
    """What the server has of a conversation."""
    messages = client.get(f"/agents/sessions/{session_id}/messages?limit=100").json()
    return [(each["role"], each["content"]) for each in messages]


def assert_fits(page: ChatPage) -> None:
    """Assert that nothing has to be scrolled sideways."""
    wide = page.run(
        "return [document.documentElement, document.body, ...document.querySelectorAll('#scroll')]"
        ".filter(e => e.scrollWidth > e.clientWidth).map(e => e.tagName + e.id)"
    )
    assert not wide


# -- Users and their conversations -----------------------------------------------------------


def test_the_page_keeps_users_and_their_conversations(site: str, browser: Chrome) -> None:
    """Register, chat, reload: it is all still there; a second user sees nothing of it."""
    page = ChatPage(browser)
    hostile = "<img src=x onerror=\"document.title='owned'\">"
    first = [hostile, "Noted. That makes 1 thing you have told me."]
    second = ["What did I say first?", f'The first thing you said was: "{hostile}"']
    browser.get(site)
    page.enter({"name": "eve", "password": "a-password-of-eve"}, "register")
    assert page.texts("#user") == ["eve"]

    page.say(hostile)
    page.await_said(first)
    page.await_end()
    page.await_texts("#sessions a", [hostile[:40]])
    page.say(second[0])
    page.await_said(first + second)
    page.await_end()

    browser.refresh()
    page.await_said(first + second)
    page.await_texts("#sessions a", [hostile[:40]])
    address = browser.current_url

    page.find("#new").click()
    page.await_said([])
    page.await_end()
    page.find("#sessions a").click()
    page.await_said(first + second)

    page.find("#logout").click()
    page.enter({"name": "mallory", "password": "a-password-of-mallory"}, "register")
    page.await_texts("#sessions a", [])
    browser.get(address)  # the other's conversation, by its address
    browser.refresh()
    page.await_shown("#chat")
    page.await_said([])
    page.say("What did I say first?")
    page.await_said([second[0], 'The first thing you said was: "What did I say first?"'])

    page.find("#logout").click()
    page.enter({"name": "eve", "password": "a-password-of-eve"}, "login")
    browser.get(address)
    page.await_said(first + second)
    assert browser.title == "Todo assistant"  # nothing of what was said was run
    assert not page.complaints()


def test_the_page_waits_for_what_was_said_before(site: str, browser: Chrome) -> None:
    """A message that is sent while a conversation loads is not taken for its first one."""
    page = ChatPage(browser)
    with logged_in(site, BOB) as bob:
        bob.post("/agents/sessions/old/chat", json={"message": "Hello"})
        bob.patch("/agents/sessions/old", json={"session_name": "Of old"})
        old = [content for _, content in said(bob, "old")]
        browser.get(f"{site}/#%")  # which is no address of a conversation
        page.enter(BOB, "login")
        page.run(HOLD)

        page.run("location.hash = 'old'")
        wait_until(lambda: page.run("return 'release' in window"), "the page")
        page.say("What did I say first?")
        page.run("window.release()")

        answer = 'The first thing you said was: "Hello"'
        page.await_said([*old, "What did I say first?", answer])
        page.await_end()
        assert bob.get("/agents/sessions?search=Of old").json()["total"] == 1


@pytest.mark.parametrize("address", share_of(["%", ".", "%2E%2E"], "%2E%2E"))
def test_an_address_without_a_conversation_is_a_new_one(
    site: str, browser: Chrome, address: str
) -> None:
    """The page asks for none that no path can name."""
    page = ChatPage(browser)
    with logged_in(site, BOB):
        browser.get(f"{site}/#{address}")
        page.enter(BOB, "login")

    page.say("Hi")

    wait_until(lambda: len(page.texts("#messages li")) == 2, "an answer")
    page.await_end()
    assert re.fullmatch("#[0-9a-f]{24}", page.run("return location.hash"))
    assert not page.texts("#notice")[0]


def test_an_empty_conversation_says_what_to_try(page: ChatPage) -> None:
    """A suggestion is sent with a click, and there are none where something was said."""
    page.await_shown("#empty")
    suggestions = page.texts(".suggestion")
    assert len(suggestions) == 3

    page.find(".suggestion:nth-of-type(2)").click()

    page.await_said([suggestions[1], "I looked it up: Buy bread is on your list."])
    page.await_end()
    assert not page.find("#empty").is_displayed()
    page.find("#new").click()
    page.await_shown("#empty")


def test_a_conversation_is_renamed_and_deleted(page: ChatPage, ada: httpx.Client) -> None:
    """Both ask first; what is cancelled changes nothing, and no other conversation changes."""
    ada.post("/agents/sessions/other/chat", json={"message": "Hi"})
    ada.patch("/agents/sessions/other", json={"session_name": "Other"})
    assert not page.find("#rename").is_displayed()  # there is nothing yet
    page.say("My name is Ada")
    page.await_texts("#title", ["My name is Ada"])

    page.find("#rename").click()
    page.find("#new-name").send_keys("No", Keys.ESCAPE)
    page.find("#rename").click()
    assert page.find("#new-name").get_property("value") == "My name is Ada"
    page.find("#new-name").clear()
    page.find("#new-name").send_keys("<i>Names</i>", Keys.ENTER)
    page.await_texts("#title", ["<i>Names</i>"])
    page.await_texts("#sessions a", ["<i>Names</i>", "Other"])

    page.find("#delete").click()
    page.find("#deleting [type=button]").click()
    page.await_texts("#sessions a", ["<i>Names</i>", "Other"])
    page.find("#delete").click()
    page.find("#deleting .danger").click()
    page.await_texts("#sessions a", ["Other"])
    page.await_texts("#title", ["New conversation"])
    page.await_said([])
    assert len(ada.get("/agents/sessions").json()["items"]) == 1


def test_earlier_messages_are_a_click_away(page: ChatPage, ada: httpx.Client) -> None:
    """A page of a long conversation is its end; what came before is shown before it."""
    for number in range(52):
        ada.post("/agents/sessions/long/chat", json={"message": f"Thing {number}"})
    page.run("location.hash = 'long'")
    page.await_shown("#earlier")
    assert page.texts(".user .text")[0] == "Thing 2"

    page.find("#earlier").click()

    page.await_texts(".user .text", [f"Thing {number}" for number in range(52)])
    assert not page.find("#earlier").is_displayed()


# -- Answers ---------------------------------------------------------------------------------


def test_an_answer_is_shown_as_it_comes(page: ChatPage) -> None:
    """A tool is open while it runs, and folded then; the words come one by one."""
    page.run(STEPS)
    page.say("Add a todo: Water the plants")
    wait_until(lambda: page.run("return 'next' in window"), "an answer")
    assert page.texts("#messages .text") == ["Add a todo: Water the plants"]
    assert page.find("#log").get_attribute("aria-busy") == "true"
    assert page.find("#log").get_attribute("aria-live") == "polite"
    assert not page.find("#send").is_enabled()

    page.run("window.next()")
    page.await_texts("summary", ["Using add_todo…"])
    assert page.find("details").get_property("open")
    assert page.texts("details pre") == ['{\n  "what": "Water the plants"\n}']
    page.run("window.next()")
    page.await_texts("summary", ["Used add_todo"])
    assert not page.find("details").get_property("open")
    assert page.texts("details pre")[1] == "Water the plants is on your list"

    page.run("window.next()")
    page.await_said(["Add a todo: Water the plants", "I "])
    page.run("window.next()")
    page.await_said(["Add a todo: Water the plants", "I looked "])
    page.run("window.rest()")
    page.await_end()
    whole = ["Add a todo: Water the plants", "I looked it up: Water the plants is on your list."]
    page.await_said(whole)
    assert page.find("#log").get_attribute("aria-busy") == "false"

    page.browser.refresh()  # and the same of the stored conversation
    page.await_said(whole)
    assert page.texts("summary") == ["Used add_todo"]
    assert not page.find("details").get_property("open")
    assert page.texts("details pre")[1] == "Water the plants is on your list"


def test_an_answer_is_left_and_found_again(page: ChatPage) -> None:
    """Who looks at another conversation meanwhile sees nothing of it there, and all of it back."""
    page.run(STEPS)
    page.say("My name is Ada")
    wait_until(lambda: page.run("return 'next' in window"), "an answer")
    address = page.run("return location.hash")
    page.run("window.next()")
    page.await_said(["My name is Ada", "Noted. "])

    page.run("location.hash = 'elsewhere'")
    page.await_said([])
    page.run("window.next()")
    assert page.texts("#messages li") == []
    page.run("location.hash = arguments[0]", address)
    page.await_said(["My name is Ada", "Noted. That "])
    page.run("window.rest()")
    page.await_end()
    page.await_said(["My name is Ada", "Noted. That makes 1 thing you have told me."])


def test_a_long_answer_is_followed(page: ChatPage) -> None:
    """Its end stays in sight, unless the reader has scrolled up; the composer is at the bottom."""
    words = "".join(f'event: delta\r\ndata: {{"text": "{n}\\n\\n"}}\r\n\r\n' for n in range(80))
    page.run(ANSWER, words + 'event: done\r\ndata: {"response": "' + "x\\n\\n" * 80 + '"}\r\n\r\n')
    page.say("Count")
    wait_until(lambda: len(page.texts(".assistant p")) == 80, "the answer")
    page.await_end()
    below = "const s = document.querySelector('#scroll');"
    below += "return s.scrollHeight - s.scrollTop - s.clientHeight"
    wait_until(lambda: page.run(below) < 2, "the end")
    assert not page.find("#newest").is_displayed()

    page.run("document.querySelector('#scroll').scrollTop = 100")
    page.await_shown("#newest")
    page.run(STEPS)
    page.run("say('What can you do?')")
    wait_until(lambda: page.run("return 'next' in window"), "an answer")
    wait_until(lambda: page.run(below) < 2, "the end")  # where one's own message is
    page.run("document.querySelector('#scroll').scrollTop = 100")
    page.await_shown("#newest")
    page.run("window.rest()")
    page.await_end()
    assert page.run("return document.querySelector('#scroll').scrollTop") == 100

    page.find("#newest").click()
    wait_until(lambda: page.run(below) < 2, "the end")
    bottom = page.run("return document.querySelector('#composer').getBoundingClientRect().bottom")
    assert bottom == page.run("return innerHeight")


# -- Errors ----------------------------------------------------------------------------------


def test_a_failed_answer_is_told_beside_the_composer(page: ChatPage) -> None:
    """What was said is in the composer again, before what was typed since, and can be sent."""
    failed = 'event: error\r\ndata: {"status_code": 502, "detail": "No answer."}\r\n\r\n'
    page.run(ANSWER, failed)
    page.say("My name is Ada")
    page.await_texts("#notice", ["No answer."])
    page.await_end()
    assert page.typed() == "My name is Ada"
    assert page.texts("#send") == ["Send again"]
    page.await_said([])

    page.find("#send").click()
    page.await_said(["My name is Ada", "Noted. That makes 1 thing you have told me."])
    page.await_end()
    assert page.typed() == ""
    assert page.texts("#send") == ["Send"]
    assert page.texts("#notice") == [""]


def test_a_message_that_another_tab_keeps_waiting_can_be_sent_again(page: ChatPage) -> None:
    """What was refused because the conversation is busy is in the composer again, and is told."""
    page.run(REFUSE, "Another message to this conversation is being answered.")
    page.say("My name is Ada")
    page.await_texts("#notice", ["Another message to this conversation is being answered."])
    page.await_end()
    assert page.typed() == "My name is Ada"
    assert page.texts("#send") == ["Send again"]
    page.await_said([])

    page.find("#send").click()
    page.await_said(["My name is Ada", "Noted. That makes 1 thing you have told me."])
    assert page.typed() == ""


def test_a_draft_belongs_to_its_conversation(page: ChatPage) -> None:
    """It is there again when the reader comes back, and nowhere else."""
    address = page.run("return location.hash")
    page.find("#message").send_keys("Half a thought")
    page.find("#new").click()
    wait_until(lambda: page.typed() == "", "another conversation")
    page.run("location.hash = arguments[0]", address)
    wait_until(lambda: page.typed() == "Half a thought", "the draft")


@pytest.mark.parametrize("same", share_of([True, False], True, False))
def test_an_expired_login_keeps_what_was_typed(
    site: str, page: ChatPage, ada: httpx.Client, *, same: bool
) -> None:
    """After logging in again it can be sent; somebody else does not see it."""
    page.say("Hello")
    page.await_said(["Hello", "Noted. That makes 1 thing you have told me."])
    page.await_end()
    session_id = page.run("return location.hash.slice(1)")
    page.browser.delete_all_cookies()

    page.say("What did I say first?")
    page.await_shown("#login")
    assert "Your login has ended" in page.texts("#refused")[0]
    name = page.texts("#user")[0]
    who = {"name": name, "password": f"a-password-of-{name}"} if same else BOB
    with logged_in(site, who):
        page.enter(who, "login")

    if not same:
        page.await_texts("#user", ["bob"])
        assert page.typed() == ""
        page.await_said([])
        return
    assert page.typed() == "What did I say first?"
    assert len(said(ada, session_id)) == 2
    page.find("#send").click()
    page.await_said(
        [
            *("Hello", "Noted. That makes 1 thing you have told me."),
            *("What did I say first?", 'The first thing you said was: "Hello"'),
        ]
    )


def test_a_lost_server_is_noticed_and_asked_again(browser: Chrome, tmp_path: Path) -> None:
    """What was typed stays, and is sent when the user says so, once."""
    page, port = ChatPage(browser), free_port()
    who = {"name": "grace", "password": "a-password-of-grace"}
    with running(tmp_path, port, JWT_SECRET=SECRET) as site:
        browser.get(site)
        page.enter(who, "register")
        page.say("Hello")
        page.await_said(["Hello", "Noted. That makes 1 thing you have told me."])
        page.await_end()

    page.say("What did I say first?")
    page.await_texts("#notice", ["The server does not answer. Trying again…"])
    assert page.find("#send").is_enabled()
    assert page.typed() == "What did I say first?"
    page.find("#message").send_keys(Keys.ENTER)  # which does not lose it either
    assert page.typed() == "What did I say first?"

    with running(tmp_path, port, JWT_SECRET=SECRET) as site, logged_in(site, who) as grace:
        page.await_texts("#notice", ["The server is back. Your message was not sent."])
        session_id = page.run("return location.hash.slice(1)")
        assert len(said(grace, session_id)) == 2
        assert page.texts("#send") == ["Send again"]
        page.find("#send").click()
        answer = 'The first thing you said was: "Hello"'
        page.await_texts(".assistant:last-child .text", [answer])
        page.await_end()
        assert [role for role, _ in said(grace, session_id)] == ["user", "assistant"] * 2


def test_a_lost_answer_is_found(page: ChatPage, ada: httpx.Client) -> None:
    """A message that had arrived is not offered for sending again."""
    page.run(ANSWER, None)
    page.say("My name is Ada")
    page.await_texts("#notice", ["The connection was lost, but your message had arrived."])
    page.await_said(["My name is Ada", "Noted. That makes 1 thing you have told me."])
    assert page.typed() == ""
    assert page.texts("#send") == ["Send"]
    assert len(said(ada, page.run("return location.hash.slice(1)"))) == 2


# -- Keyboard, phones, and what axe-core finds ------------------------------------------------


def test_the_keyboard_is_enough(site: str, browser: Chrome) -> None:
    """Registering, sending, a new line, renaming, and another conversation; focus is seen."""
    page = ChatPage(browser)
    browser.get(site)
    page.await_shown("#login")

    def press(*keys: str) -> None:
        browser.switch_to.active_element.send_keys(*keys)

    def focused() -> str:
        found: str = page.run("return document.activeElement.id || document.activeElement.tagName")
        return found

    press("heidi", Keys.TAB)
    press("a-password-of-heidi", Keys.TAB)
    press(Keys.TAB)
    press(Keys.ENTER)  # on Register
    page.await_shown("#chat")
    assert focused() == "message"
    style = (
        "const s = getComputedStyle(document.activeElement); return s.outlineStyle + s.outlineWidth"
    )
    assert page.run(style) == "solid3px"

    low = page.find("#message").size["height"]
    press("One", Keys.SHIFT + Keys.ENTER, Keys.NULL, "Two")
    assert page.typed() == "One\nTwo"
    assert page.find("#message").size["height"] > low
    press(Keys.ENTER)
    page.await_said(["One\nTwo", "Noted. That makes 1 thing you have told me."])
    page.await_end()
    assert focused() == "message"
    assert page.find("#message").size["height"] == low

    passed = []
    while focused() != "rename":
        press(Keys.SHIFT + Keys.TAB, Keys.NULL)
        passed.append(focused())
        assert len(passed) < 20
    assert passed == ["scroll", "delete", "rename"]
    press(Keys.ENTER)
    assert focused() == "new-name"
    press(Keys.ESCAPE)
    assert focused() == "rename"
    press(Keys.SHIFT + Keys.TAB, Keys.NULL)
    assert focused() == "logout"
    press(Keys.SHIFT + Keys.TAB, Keys.NULL)
    press(Keys.SHIFT + Keys.TAB, Keys.NULL)
    assert focused() == "new"
    press(Keys.ENTER)
    page.await_said([])
    assert focused() == "message"


def test_a_phone_has_the_conversations_in_a_drawer(page: ChatPage, ada: httpx.Client) -> None:
    """It opens, lets one choose, closes with Escape, and nothing is wider than the screen."""
    set_width(page.browser, PHONE)
    assert_fits(page)
    ada.post("/agents/sessions/other/chat", json={"message": "My name is Ada"})
    page.say(f"{'x' * 300} https://example.com/{'y' * 300}\n`{'z' * 300}`")
    wait_until(lambda: len(page.texts("#messages li")) == 2, "an answer")
    page.await_end()
    page.run(
        "document.querySelector('#messages').append(toolCall({tool_name: 'x'.repeat(99),"
        " content: 'y'.repeat(300)}, true))"
    )
    page.run(f"document.querySelector('.assistant .text').append(...markdown('```\\n{'w' * 300}'))")
    assert_fits(page)
    assert not page.find("#sidebar").is_displayed()

    page.find("#menu").click()
    assert page.find("#sidebar").is_displayed()
    assert page.find("#menu").get_attribute("aria-expanded") == "true"
    assert_fits(page)
    page.browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not page.find("#sidebar").is_displayed()
    assert page.run("return document.activeElement.id") == "menu"

    page.find("#menu").click()
    page.find("#sessions li:last-child a").click()
    page.await_said(["My name is Ada", "Noted. That makes 1 thing you have told me."])
    assert not page.find("#sidebar").is_displayed()


@pytest.mark.parametrize(("width", "scheme"), VIEWS)
def test_nothing_serious_keeps_anybody_from_chatting(
    site: str, browser: Chrome, ada: httpx.Client, width: int, scheme: str
) -> None:
    """axe-core has nothing serious to say: of the login, an empty page, a talk and a dialog."""
    page = ChatPage(browser)
    set_width(browser, width)
    set_scheme(browser, scheme)
    browser.get(site)
    page.await_shown("#login")
    assert serious_findings(browser) == []
    page.open_for(ada)
    page.await_shown("#empty")
    assert serious_findings(browser) == []

    page.run(STEPS)
    page.say("Add a todo: Water the plants")
    wait_until(lambda: page.run("return 'next' in window"), "an answer")
    page.run("window.next()")
    page.await_texts("summary", ["Using add_todo…"])
    assert serious_findings(browser) == []
    page.run("window.rest()")
    page.await_end()
    page.say("What can you do? See https://example.com")
    page.await_end()
    page.run("tell('Something went wrong.')")
    assert serious_findings(browser) == []
    page.find("#delete").click()
    assert serious_findings(browser) == []


# -- Screenshots -----------------------------------------------------------------------------


def test_the_screenshots_of_the_docs_can_be_made(
    site: str, browser: Chrome, tmp_path: Path
) -> None:
    """Each is as wide as its name says, and small enough for a page."""
    screenshots.take(site, browser, tmp_path)

    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(made) == set(screenshots.NAMES)
    for name, image in made.items():
        kept = (screenshots.IMAGES / name).read_bytes()
        for one in (image, kept):
            width, _ = struct.unpack(">II", one[16:24])
            assert width == (PHONE if "phone" in name else LAPTOP)
            assert len(one) < 150_000
